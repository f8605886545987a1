"""What a conversion can be told: few settings in, all options of a conversion out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from thex_hf._choices import (
    CONVERTED_FORMS,
    NORM_DEGREES,
    POLYNOMIAL_NORMS,
    POWERS,
    RECIPES,
    check_conversion,
)
from thex_hf.approximations.activation_registry import list_activations
from thex_hf.conversion.stage_options import (
    FOLLOWING,
    LAST_STEPS,
    LEAST_STEPS,
    NORMALISING,
    check_share,
    check_stages,
    following_fit,
    stages_of,
)
from thex_hf.conversion.stage_options import FitOptions as FitOptions
from thex_hf.conversion.stage_options import LossOptions as LossOptions
from thex_hf.errors import OptionError
from thex_hf.weights import USUAL_DEGREE

LEAST_DRAWN = 256
BATCH_SIZE = 32
"""Texts a training step, if nothing else is said."""
USUAL_WIDTH = 384
"""Hidden size at which the learning rates of the normalised form were chosen."""
SHARED = frozenset(("activation", "attention_power"))
"""Settings that polynomial and normalised form have in common."""


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

    bounding: FitOptions = field(default_factory=lambda: following_fit(0.5, 3e-4))
    relu: FitOptions = field(default_factory=lambda: following_fit(0.5, 2e-4))
    softmax: FitOptions = field(default_factory=lambda: following_fit(0.5, 2e-4))
    norms: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=0.1, learning_rate=1e-3, weight_decay=0.0, average=0.99, least_steps=50
        )
    )
    layer_wise: FitOptions = field(default_factory=lambda: following_fit(0.5, 1e-3))
    end_to_end: FitOptions = field(default_factory=lambda: following_fit(1.0, 3e-4, LAST_STEPS))
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
    bounding: FitOptions = field(default_factory=lambda: following_fit(0.5, 3e-4))
    layer_wise: FitOptions = field(default_factory=lambda: following_fit(0.75, 1e-3))
    end_to_end: FitOptions = field(default_factory=lambda: following_fit(1.0, 3e-4, LAST_STEPS))
    steadying: FitOptions = field(
        default_factory=lambda: replace(following_fit(0.3, 1e-4), text_mix=0.2, token_swap=0.05)
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


def _normalising(epochs: float, steps: int) -> FitOptions:
    return FitOptions(
        epochs=epochs,
        learning_rate=2e-4,
        weight_decay=0.01,
        batch_size=BATCH_SIZE,
        token_dropout=0.05,
        token_swap=0.05,
        text_mix=0.2,
        text_strange=0.1,
        text_long=0.05,
        average=0.99,
        least_steps=steps,
        constants_rate=5.0,
    )


@dataclass(frozen=True)
class NormalisedOptions:
    """How to convert to normalised form.

    ``activation`` and ``attention_power`` are as in polynomial form. ``norm_degree`` is that of the
    polynomial in every norm, or ``norm_degrees`` has one for each norm, as
    :class:`thex_hf.modeling.ThexBertConfig` takes it; a norm of degree 0 divides by nothing.
    ``layer_wise`` trains each layer by itself and ``layer_norms`` all together, both with their
    layer norms left, until variances keep close together; ``end_to_end`` trains with polynomials in
    their place. ``losses`` weigh the terms of all. ``steadying``, ``rounds``, ``drawn`` are as in
    polynomial form. Learning rates are for :data:`USUAL_WIDTH` or less, see :meth:`at_width`.

    The interval of each polynomial goes from the first of ``quantiles`` of the variances to the
    second, times the numbers of ``widening``, and its end is at most ``most_ratio`` times its
    beginning. Training holds variances to what ``interval_margin`` leaves of it, half its upper
    end: beyond the end a polynomial explodes, and so an unusual text does not find it there. To the
    texts on which variances are measured ``strange_share`` as many strange ones
    are added.
    """

    activation: str = "calibrated"
    attention_power: int = 2
    norm_degree: int = USUAL_DEGREE
    norm_degrees: tuple[tuple[int, int], ...] | None = None
    layer_wise: FitOptions = field(
        default_factory=lambda: replace(_normalising(0.25, 500), learning_rate=1e-3)
    )
    layer_norms: FitOptions = field(default_factory=lambda: _normalising(0.5, 750))
    end_to_end: FitOptions = field(default_factory=lambda: _normalising(0.5, 750))
    steadying: FitOptions = field(
        default_factory=lambda: replace(_normalising(0.1, 200), learning_rate=1e-4)
    )
    rounds: int = 3
    drawn: int = 4096
    dropout: float = 0.0
    losses: LossOptions = NORMALISING
    quantiles: tuple[float, float] = (0.001, 0.9995)
    widening: tuple[float, float] = (0.7, 3.0)
    most_ratio: float = 120.0
    strange_share: float = 0.125

    def __post_init__(self) -> None:
        """Check names and numbers."""
        offers: dict[str, Sequence[Any]] = {
            "activation": list_activations(),
            "attention_power": POWERS,
            "norm_degree": NORM_DEGREES[1:],
        }
        for name, values in offers.items():
            check_conversion(name, getattr(self, name), values, " in normalised form")
        check_share("dropout", self.dropout)
        check_stages(self)
        low, high = self.quantiles
        if not 0 <= low < high <= 1:
            raise OptionError(f"quantiles should rise from 0 to 1; got {self.quantiles}.")
        if not (0 < self.widening[0] <= 1 <= self.widening[1] and self.most_ratio > 1):
            raise OptionError(
                f"widening should be at most 1, then at least 1, and most_ratio above 1; got "
                f"{self.widening} and {self.most_ratio}."
            )

    def at_width(self, hidden: int) -> NormalisedOptions:
        """A copy for a hidden size: beyond the usual one learning rates fall as it grows.

        With Adam a step changes the sums of a layer in proportion to its width times the rate
        (Yang et al. 2021, "Tensor Programs V").
        """
        share = min(1.0, USUAL_WIDTH / hidden)
        slower: dict[str, Any] = {
            name: replace(fit, learning_rate=share * fit.learning_rate)
            for name, fit in stages_of(self).items()
        }
        return replace(self, **slower)


Stages: TypeAlias = TheXOptions | PolynomialOptions | NormalisedOptions


@dataclass(frozen=True)
class ConversionOptions:
    """How to convert.

    ``form`` is ``"the-x"``, ``"polynomial"`` or ``"normalised"``, and ``the_x``, ``polynomial`` or
    ``normalised`` has its stages.
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
    normalised: NormalisedOptions = field(default_factory=NormalisedOptions)
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
    def stages(self) -> Stages:
        """What the form's own stages are told."""
        own: Stages = getattr(self, self.form.replace("-", "_"))
        return own

    @property
    def judged(self) -> bool:
        """Whether training texts are set aside to judge by."""
        return self.early_stop or len(self.weight_decays) > 1

    def decayed(self, value: float) -> ConversionOptions:
        """Return options with that weight decay in every stage but the norms'."""

        def change(options: Any) -> Any:
            stages = {
                name: replace(stage, weight_decay=value)
                for name, stage in stages_of(options).items()
                if name != "norms"
            }
            return replace(options, **stages)

        return replace(
            self,
            the_x=change(self.the_x),
            polynomial=change(self.polynomial),
            normalised=change(self.normalised),
            weight_decays=(value,),
        )


def options_from(
    *,
    form: str = "the-x",
    recipe: str = "full",
    effort: float = 1.0,
    batch_size: int | None = None,
    fine_tune: bool = False,
    epochs: float | None = None,
    learning_rate: float | None = None,
    polynomial: Mapping[str, Any] | None = None,
    normalised: Mapping[str, Any] | None = None,
    **others: Any,
) -> ConversionOptions:
    """Make :class:`ConversionOptions` from a few settings.

    Args:
        form: ``"the-x"``, ``"polynomial"`` or ``"normalised"``.
        recipe: ``"full"``, or ``"as-published"`` for the paper's two stages.
        effort: multiplies the length of every stage; 0 leaves the fits without training.
        batch_size: of every stage; None: 32.
        fine_tune: train the source on the task first.
        epochs: of that fine-tuning.
        learning_rate: its peak.
        polynomial: fields of :class:`PolynomialOptions`; those that are None are left out.
        normalised: the same of :class:`NormalisedOptions`.
        **others: fields of :class:`ConversionOptions`.

    Raises:
        OptionError: settings that do not go together, or are not on offer.
    """
    if not isinstance(effort, int | float) or not 0 <= effort < float("inf"):
        raise OptionError(f"effort should be a number of at least 0; got {effort!r}.")
    check_conversion("recipe", recipe, RECIPES)
    if form != "the-x" and recipe != "full":
        raise OptionError(f"recipe {recipe!r} is of the-x form; leave out form {form}.")
    given = _given("polynomial", polynomial, form)
    given_normalised = _given("normalised", normalised, form)
    size = batch_size or BATCH_SIZE
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
            batch_size=size,
            token_dropout=0.1,
            average=0.99,
        )
    return replace(
        base,
        fine_tuning=tuning,
        the_x=replace(the_x, **_scaled(the_x, effort, size)),
        polynomial=PolynomialOptions(**{**_scaled(PolynomialOptions(), effort, size), **given}),
        normalised=NormalisedOptions(
            **{**_scaled(NormalisedOptions(), effort, size), **given_normalised}
        ),
    )


def _given(own: str, settings: Mapping[str, Any] | None, form: str) -> dict[str, Any]:
    """Settings of one form without those that are None.

    Raises:
        OptionError: there are some, and the form is another.
    """
    given = {name: value for name, value in (settings or {}).items() if value is not None}
    if given and form != own:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        forms = f"{own} or normalised" if SHARED.issuperset(given) else own
        raise OptionError(
            f"{flags}: for --form {forms} only; the form is {form!r}. Leave them out, or add "
            f"--form {own}."
        )
    return given


def _scaled(stages: Stages, effort: float, size: int) -> dict[str, Any]:
    """All training stages, longer or shorter, with one batch size, and the draws of steadying."""

    def scale(fitting: FitOptions) -> FitOptions:
        least = round(fitting.least_steps * effort)
        return replace(fitting, epochs=fitting.epochs * effort, least_steps=least, batch_size=size)

    scaled: dict[str, Any] = {name: scale(fit) for name, fit in stages_of(stages).items()}
    if not isinstance(stages, TheXOptions):
        scaled["drawn"] = max(LEAST_DRAWN, round(stages.drawn * effort))
    return scaled
