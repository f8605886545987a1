"""What a conversion can be told, and what it reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from thex_hf.approx.registry import ACTIVATIONS
from thex_hf.conversion.losses import LossOptions
from thex_hf.conversion.trainer import FitOptions
from thex_hf.errors import OptionError
from thex_hf.modeling.configuration_thex_bert import POWERS

FORMS = ("the-x", "polynomial")
POLYNOMIAL_NORMS = ("affine", "centred")


@dataclass(frozen=True)
class PolynomialOptions:
    """How to convert to polynomial form.

    ``activation`` names how the quadratic of each layer starts, see
    :data:`thex_hf.approx.registry.ACTIVATIONS`. ``bounding`` is the short fine-tuning of a copy
    of the source without pooler and with small attention scores, ``layer_wise`` and
    ``end_to_end`` the two distillations from it; zero epochs skip a stage. ``dropout`` is that
    of the end-to-end stage, whose loss ``losses`` weigh; it is best left at 0, since without
    layer norms a dropped value grows through powers and squares.
    """

    activation: str = "calibrated"
    attention_power: int = 2
    norm: str = "affine"
    bounding: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=0.5, learning_rate=2e-4, token_dropout=0.1, average=0.995
        )
    )
    layer_wise: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=1.0, learning_rate=1e-3, token_dropout=0.1, token_swap=0.15, average=0.995
        )
    )
    end_to_end: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=0.75, learning_rate=2e-4, token_dropout=0.1, token_swap=0.1, average=0.995
        )
    )
    dropout: float = 0.0
    losses: LossOptions = field(
        default_factory=lambda: LossOptions(guide=1.0, hidden=1.0, scores=0.1, value_penalty=0.01)
    )

    def __post_init__(self) -> None:
        """Check names and numbers."""
        offers = {
            "activation": ACTIVATIONS,
            "attention_power": POWERS,
            "norm": POLYNOMIAL_NORMS,
        }
        for name, values in offers.items():
            if getattr(self, name) not in values:
                raise OptionError(
                    f"{name} should be one of {', '.join(map(str, values))} in polynomial form; "
                    f"got {getattr(self, name)!r}."
                )
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout should be at least 0 and below 1; got {self.dropout}.")
        check_fits(self, ("bounding", "layer_wise", "end_to_end"))


@dataclass(frozen=True)
class ConversionOptions:
    """How to convert.

    ``form`` is ``"the-x"`` or ``"polynomial"``; for the latter ``polynomial`` has the stages, and
    ``fine_tuning``, ``distilling``, ``polish``, ``polishing`` and ``losses`` are not used.
    ``fine_tuning``, ``distilling`` and ``polishing`` say how each training stage goes;
    zero epochs skip a stage, and ``polish=False`` skips the last. ``max_length`` is in
    tokens; ``half`` saves float16. ``calibration_texts`` counts the texts over which ranges
    are measured. ``seed`` overrides the seeds of the stages.
    """

    seed: int = 0
    max_length: int = 128
    fine_tuning: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=2.0, learning_rate=2e-4, token_dropout=0.1, average=0.995
        )
    )
    distilling: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=0.25, learning_rate=1e-3, weight_decay=0.0, average=0.99
        )
    )
    polish: bool = True
    polishing: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=0.5, learning_rate=1e-4, token_dropout=0.1, average=0.995
        )
    )
    losses: LossOptions = field(default_factory=LossOptions)
    norm_texts: int = 4096
    calibration_texts: int = 2048
    half: bool = True
    overwrite: bool = False
    form: str = "the-x"
    polynomial: PolynomialOptions = field(default_factory=PolynomialOptions)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.form not in FORMS:
            raise OptionError(f"form should be one of {', '.join(FORMS)}; got {self.form!r}.")
        for name in ("max_length", "norm_texts", "calibration_texts"):
            if getattr(self, name) < 2:
                raise OptionError(f"{name} should be at least 2; got {getattr(self, name)}.")
        check_fits(self, ("fine_tuning", "distilling", "polishing"))


def check_fits(options: object, names: tuple[str, ...]) -> None:
    """Raise unless the named training stages have usable numbers.

    Raises:
        OptionError: says which stage, and what it should have.
    """
    for name in names:
        stage = getattr(options, name)
        if stage.epochs < 0 or stage.learning_rate <= 0 or stage.batch_size < 1:
            raise OptionError(
                f"{name} should have epochs >= 0, learning_rate > 0 and batch_size >= 1; "
                f"got {stage.epochs}, {stage.learning_rate}, {stage.batch_size}."
            )


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did; accuracies in per cent on the development texts.

    For regression the figures are Pearson correlations in per cent. ``unconverted`` is the
    source model and ``converted`` the model as saved (rounded, too). ``stages`` has these two
    and all between, in order. In THE-X form these are ``relu_softmax`` (stage 1) and ``affine``
    (after LN distillation), which are also fields; in polynomial form ``bounded`` (small scores,
    no pooler), ``fitted`` (replaced, not trained) and ``layer_wise``. ``approximations`` has for
    each layer of a polynomial form what was fitted before training.
    """

    source: str
    metric: str
    unconverted: float
    converted: float
    train_texts: int
    dev_texts: int
    seconds: float
    seed: int
    ranges: list[dict[str, float]]
    options: dict[str, Any]
    versions: dict[str, str]
    relu_softmax: float | None = None
    affine: float | None = None
    form: str = "the-x"
    stages: dict[str, float] = field(default_factory=dict)
    approximations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def drop(self) -> float:
        """Points lost from the unconverted to the saved model."""
        return self.unconverted - self.converted

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json.dumps`` takes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConversionReport:
        """Build a report from what :meth:`to_dict` returned."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})
