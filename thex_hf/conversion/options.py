"""What a conversion can be told: few settings in, all options of a conversion out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from thex_hf._choices import CONVERTED_FORMS, POLYNOMIAL_NORMS, POWERS, RECIPES, check_conversion
from thex_hf.approximations.activation_registry import list_activations
from thex_hf.errors import OptionError

LEAST_STEPS = 300
LAST_STEPS = 2500
LEAST_DRAWN = 256


@dataclass(frozen=True)
class FitOptions:
    """How long and how fast to train.

    ``epochs`` is a number of passes over the texts; on a small data set at least ``least_steps``
    steps are made instead. ``average`` is the decay of a running average of the weights, which
    replaces them at the end; 0 switches it off. ``token_dropout`` is the share of ``[MASK]``,
    ``token_swap`` that of tokens from other texts, ``text_mix`` that of recombined texts,
    ``text_strange`` that of texts such as a word repeated, and ``text_long`` that of batches of
    very long ones, see :mod:`thex_hf.conversion.training.augment`; all but the first are for
    following a model, since labels do not fit such texts. With held-out texts the model is scored
    ``checks`` times on the way, evenly spread, the best one is kept, and training stops after
    ``patience`` scores in a row that are no better.
    """

    epochs: float = 1.0
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    batch_size: int = 64
    warmup: float = 0.1
    token_dropout: float = 0.0
    token_swap: float = 0.0
    text_mix: float = 0.0
    text_strange: float = 0.0
    text_long: float = 0.0
    gradient_norm: float = 1.0
    average: float = 0.0
    seed: int = 0
    least_steps: int = 0
    checks: int = 0
    patience: int = 3

    def with_labels(self) -> FitOptions:
        """The same for texts whose labels count: none is swapped, mixed, strange or long."""
        return replace(self, token_swap=0.0, text_mix=0.0, text_strange=0.0, text_long=0.0)

    def steps(self, texts: int) -> int:
        """Training steps on a data set of that many texts."""
        wanted = round(self.epochs * -(-texts // self.batch_size))
        return max(1, wanted, self.least_steps if self.epochs else 0)


@dataclass(frozen=True)
class LossOptions:
    """Weights of the terms of the training loss.

    ``guide`` weighs the divergence from another model's logits, and ``1 - guide`` the task loss;
    ``temperature`` softens both sides. ``score_limit`` and ``score_penalty`` keep attention
    scores small: there the softmax estimate is good and a power does not run away. ``hidden``
    weighs the distance from the exact model's streams and ``scores`` that from its attention
    scores, where such a model is followed. ``value_penalty`` weighs the squared excess over
    ``value_limit`` of everything else that calibration measures.
    """

    guide: float = 0.5
    temperature: float = 2.0
    smoothing: float = 0.05
    score_limit: float = 3.0
    score_penalty: float = 0.02
    hidden: float = 0.1
    scores: float = 0.0
    value_limit: float = 16.0
    value_penalty: float = 0.0


FOLLOWING = LossOptions(guide=1.0, hidden=1.0, scores=0.1, value_penalty=0.01)


def _fit(epochs: float, rate: float, steps: int = LEAST_STEPS) -> FitOptions:
    return FitOptions(
        epochs=epochs,
        learning_rate=rate,
        token_dropout=0.1,
        token_swap=0.1,
        text_mix=0.8,
        text_strange=0.3,
        text_long=0.1,
        average=0.99,
        least_steps=steps,
    )


@dataclass(frozen=True)
class TheXOptions:
    """How to convert to THE-X form.

    ``bounding`` teaches a copy of the source, without its pooler, to answer as the source does
    with small attention scores; everything later follows that copy. ``relu`` trains with ReLU,
    ``softmax`` with the softmax estimate too, ``norms`` the affine norms alone (THE-X's LN
    distillation), ``layer_wise`` each layer by itself with affine norms, ``end_to_end`` all
    together. Zero epochs skip a stage. ``losses`` weigh the terms of the stages that follow; with
    ``follow=False`` they learn from the labels, and from the source's logits as ``losses.guide``
    says.
    """

    bounding: FitOptions = field(default_factory=lambda: _fit(0.5, 3e-4))
    relu: FitOptions = field(default_factory=lambda: _fit(0.5, 2e-4))
    softmax: FitOptions = field(default_factory=lambda: _fit(0.5, 2e-4))
    norms: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=0.1, learning_rate=1e-3, weight_decay=0.0, average=0.99, least_steps=50
        )
    )
    layer_wise: FitOptions = field(default_factory=lambda: _fit(0.5, 1e-3))
    end_to_end: FitOptions = field(default_factory=lambda: _fit(1.0, 3e-4, LAST_STEPS))
    dropout: float = 0.0
    losses: LossOptions = FOLLOWING
    follow: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_share("dropout", self.dropout)
        check_stages(self)

    @classmethod
    def as_published(cls) -> TheXOptions:
        """The paper's two stages: ReLU and estimate at once, on labels alone; then the norms."""
        none = FitOptions(epochs=0.0)
        return cls(
            bounding=none,
            relu=none,
            softmax=FitOptions(epochs=3.0, learning_rate=1e-4, least_steps=LEAST_STEPS),
            norms=FitOptions(epochs=1.0, learning_rate=1e-3, weight_decay=0.0, least_steps=100),
            layer_wise=none,
            end_to_end=none,
            dropout=0.1,
            losses=LossOptions(guide=0.0, smoothing=0.0, score_penalty=0.0, hidden=0.0),
            follow=False,
        )


@dataclass(frozen=True)
class PolynomialOptions:
    """How to convert to polynomial form.

    ``activation`` names how the quadratic of each layer starts, see
    :func:`thex_hf.approximations.activation_registry.list_activations`. ``bounding`` teaches a
    copy of the source, without its pooler, to answer as the source does with small attention
    scores, ``layer_wise``
    and ``end_to_end`` are the two distillations from it, and ``steadying`` is one round, of
    ``rounds``, on those of ``drawn`` strange texts that run away; zero epochs skip a stage.
    ``dropout`` is that of the end-to-end stage, whose loss ``losses`` weigh; it is best left at
    0, since without layer norms a dropped value grows through powers and squares.
    """

    activation: str = "calibrated"
    attention_power: int = 2
    norm: str = "affine"
    bounding: FitOptions = field(default_factory=lambda: _fit(0.5, 3e-4))
    layer_wise: FitOptions = field(default_factory=lambda: _fit(0.75, 1e-3))
    end_to_end: FitOptions = field(default_factory=lambda: _fit(1.0, 3e-4, LAST_STEPS))
    steadying: FitOptions = field(
        default_factory=lambda: replace(_fit(0.3, 1e-4), text_mix=0.2, token_swap=0.05)
    )
    rounds: int = 5
    drawn: int = 8192
    dropout: float = 0.0
    losses: LossOptions = FOLLOWING

    def __post_init__(self) -> None:
        """Check names and numbers."""
        offers: dict[str, Sequence[Any]] = {
            "activation": list_activations(),
            "attention_power": POWERS,
            "norm": POLYNOMIAL_NORMS,
        }
        for name, values in offers.items():
            check_conversion(name, getattr(self, name), values, " in polynomial form")
        check_share("dropout", self.dropout)
        check_stages(self)


@dataclass(frozen=True)
class ConversionOptions:
    """How to convert.

    ``form`` is ``"the-x"`` or ``"polynomial"``, and ``the_x`` or ``polynomial`` has its stages.
    ``fine_tuning`` trains the source on the task before anything else; needed for an encoder
    without a classifier, skipped with zero epochs. ``weight_decays`` are tried one after the
    other in all stages but the norms' (THE-X, section 4.5), and the best is kept; with more than
    one, or with ``early_stop``, ``held_out`` of the training texts are set aside to judge by.
    ``max_length`` is in tokens; ``half`` saves float16. ``calibration_texts`` counts the texts
    over which ranges are measured, and as many strange ones
    (:mod:`thex_hf.conversion.training.augment`) are added to them. ``seed`` overrides the seeds of
    the stages. ``restart`` drops an unfinished conversion to the same output instead of going on.
    """

    form: str = "the-x"
    seed: int = 0
    max_length: int = 128
    fine_tuning: FitOptions = field(
        default_factory=lambda: FitOptions(epochs=0.0, learning_rate=5e-5, batch_size=32)
    )
    the_x: TheXOptions = field(default_factory=TheXOptions)
    polynomial: PolynomialOptions = field(default_factory=PolynomialOptions)
    weight_decays: tuple[float, ...] = ()
    early_stop: bool = False
    held_out: float = 0.1
    norm_texts: int = 2048
    calibration_texts: int = 2048
    half: bool = True
    overwrite: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_conversion("form", self.form, CONVERTED_FORMS)
        for name in ("early_stop", "half", "overwrite", "restart"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} should be True or False; got {getattr(self, name)!r}.")
        for name in ("max_length", "norm_texts", "calibration_texts"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 2:
                raise OptionError(f"{name} should be at least 2; got {getattr(self, name)}.")
        if not 0 < self.held_out < 1:
            raise OptionError(f"held_out should be between 0 and 1; got {self.held_out}.")
        if any(value < 0 for value in self.weight_decays):
            raise OptionError(f"weight_decays should be at least 0; got {self.weight_decays}.")
        check_stages(self)

    @property
    def stages(self) -> TheXOptions | PolynomialOptions:
        """What the form's own stages are told."""
        return self.the_x if self.form == "the-x" else self.polynomial

    @property
    def judged(self) -> bool:
        """Whether training texts are set aside to judge by."""
        return self.early_stop or len(self.weight_decays) > 1

    def decayed(self, value: float) -> ConversionOptions:
        """Return options with that weight decay in every stage but the norms'."""

        def change(stages: TheXOptions | PolynomialOptions) -> dict[str, FitOptions]:
            return {
                name: replace(stage, weight_decay=value)
                for name, stage in stages_of(stages).items()
                if name != "norms"
            }

        return replace(
            self,
            the_x=replace(self.the_x, **change(self.the_x)),  # type: ignore[arg-type]
            polynomial=replace(self.polynomial, **change(self.polynomial)),  # type: ignore[arg-type]
            weight_decays=(value,),
        )


def check_share(name: str, value: float) -> None:
    """Raise unless a number is at least 0 and below 1.

    Raises:
        OptionError: it is not.
    """
    if not 0 <= value < 1:
        raise OptionError(f"{name} should be at least 0 and below 1; got {value}.")


Options = TheXOptions | PolynomialOptions | ConversionOptions


def stages_of(options: Options) -> dict[str, FitOptions]:
    """The training stages among the fields of options, by name, in order."""
    names = [item.name for item in fields(options) if item.type == FitOptions.__name__]
    return {name: getattr(options, name) for name in names}


def check_stages(options: Options) -> None:
    """Raise unless all training stages have usable numbers.

    Raises:
        OptionError: says which stage, and what it should have.
    """
    for name, stage in stages_of(options).items():
        if stage.epochs < 0 or stage.learning_rate <= 0 or stage.batch_size < 1:
            raise OptionError(
                f"{name} should have epochs >= 0, learning_rate > 0 and batch_size >= 1; "
                f"got {stage.epochs}, {stage.learning_rate}, {stage.batch_size}."
            )


def options_from(
    *,
    form: str = "the-x",
    recipe: str = "full",
    effort: float = 1.0,
    batch_size: int = 32,
    fine_tune: bool = False,
    epochs: float | None = None,
    learning_rate: float | None = None,
    polynomial: Mapping[str, Any] | None = None,
    **others: Any,
) -> ConversionOptions:
    """Make :class:`ConversionOptions` from a few settings.

    Args:
        form: ``"the-x"`` or ``"polynomial"``.
        recipe: ``"full"``, or ``"as-published"`` for the paper's two stages.
        effort: multiplies the length of every stage; 0 leaves the fits without training.
        batch_size: of every stage.
        fine_tune: train the source on the task first.
        epochs: of that fine-tuning.
        learning_rate: its peak.
        polynomial: fields of :class:`PolynomialOptions`; those that are None are left out.
        **others: fields of :class:`ConversionOptions`.

    Raises:
        OptionError: settings that do not go together, or are not on offer.
    """
    if not isinstance(effort, int | float) or not 0 <= effort < float("inf"):
        raise OptionError(f"effort should be a number of at least 0; got {effort!r}.")
    given = {name: value for name, value in (polynomial or {}).items() if value is not None}
    check_conversion("recipe", recipe, RECIPES)
    if form == "polynomial" and recipe != "full":
        raise OptionError(f"recipe {recipe!r} is of the-x form; leave out form polynomial.")
    if form != "polynomial" and given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise OptionError(
            f"{flags}: for --form polynomial only; the form is {form!r}. Leave them out, or add "
            "--form polynomial."
        )
    if not fine_tune and (epochs is not None or learning_rate is not None):
        raise OptionError(
            "epochs and learning_rate are those of fine-tuning: add --fine-tune, or use --effort "
            "to change the length of the conversion's stages."
        )
    the_x = TheXOptions() if recipe == "full" else TheXOptions.as_published()
    base = ConversionOptions(form=form, **others)
    tuning = base.fine_tuning
    if fine_tune:
        tuning = replace(
            tuning,
            epochs=3.0 if epochs is None else epochs,
            learning_rate=learning_rate or tuning.learning_rate,
            batch_size=batch_size,
            token_dropout=0.1,
            average=0.99,
        )
    drawn = max(LEAST_DRAWN, round(PolynomialOptions.drawn * effort))
    scaled = {"drawn": drawn, **_scaled(PolynomialOptions(), effort, batch_size)}
    return replace(
        base,
        fine_tuning=tuning,
        the_x=replace(the_x, **_scaled(the_x, effort, batch_size)),
        polynomial=PolynomialOptions(**{**scaled, **given}),
    )


def _scaled(stages: TheXOptions | PolynomialOptions, effort: float, size: int) -> dict[str, Any]:
    """All training stages, longer or shorter, with one batch size."""

    def scale(fitting: FitOptions) -> FitOptions:
        least = round(fitting.least_steps * effort)
        return replace(fitting, epochs=fitting.epochs * effort, least_steps=least, batch_size=size)

    return {name: scale(fitting) for name, fitting in stages_of(stages).items()}
