"""How long and how fast each stage of a conversion trains, and what its loss is made of."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from thex_hf.errors import OptionError

LEAST_STEPS = 300
LAST_STEPS = 2500


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
    ``patience`` scores in a row that are no better. ``constants_rate`` multiplies the learning rate
    of the few numbers that attention, activations and norms learn beside matrices, biases and
    scales.
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
    constants_rate: float = 1.0

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
    ``value_limit`` of everything else that calibration measures. ``spread_penalty`` weighs the
    squared excess over ``spread_limit`` of the distance between the logarithm of a variance that
    enters a norm and a learned centre of that norm. ``outside_penalty`` weighs the squared excess,
    of each text's worst token, over what is left of the interval of the norm's polynomial when
    ``interval_margin`` is cut from its lower and its upper end, logarithms again.
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
    spread_limit: float = 1.2
    spread_penalty: float = 0.0
    outside_penalty: float = 0.0
    interval_margin: tuple[float, float] = (0.1, 0.1)


FOLLOWING = LossOptions(guide=1.0, hidden=1.0, scores=0.1, value_penalty=0.01)
NORMALISING = LossOptions(
    guide=1.0,
    hidden=1.0,
    score_penalty=0.0,
    spread_penalty=0.05,
    outside_penalty=1.0,
    interval_margin=(0.1, 0.7),
)


def following_fit(epochs: float, rate: float, steps: int = LEAST_STEPS) -> FitOptions:
    """A stage that follows a model on texts disturbed in every way."""
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


def check_share(name: str, value: float) -> None:
    """Raise unless a number is at least 0 and below 1.

    Raises:
        OptionError: it is not.
    """
    if not 0 <= value < 1:
        raise OptionError(f"{name} should be at least 0 and below 1; got {value}.")


def stages_of(options: Any) -> dict[str, FitOptions]:
    """The training stages among the fields of a record of options, by name, in order."""
    names = [item.name for item in fields(options) if item.type == FitOptions.__name__]
    return {name: getattr(options, name) for name in names}


def check_stages(options: Any) -> None:
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
