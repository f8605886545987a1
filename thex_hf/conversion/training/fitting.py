"""How long and how fast to train: settings and the divergence guard."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from thex_hf.errors import DivergenceError

EXPLODED = 1000.0
PATIENCE = 10
"""``PATIENCE`` losses in a row above ``EXPLODED * (1 + least loss)`` count as divergence. One
alone does not: a strange text can do that to a polynomial, and its gradient is clipped."""


@dataclass(frozen=True)
class FitOptions:
    """How long and how fast to train.

    ``epochs`` is a number of passes over the texts; on a small data set at least ``least_steps``
    steps are made instead. ``average`` is the decay of a running average of the weights, which
    replaces them at the end; 0 switches it off. ``token_dropout`` is the share of ``[MASK]``,
    ``token_swap`` that of tokens from other texts and ``text_mix`` that of recombined texts, see
    :mod:`thex_hf.conversion.training.augment`; ``text_strange`` is the share of texts such as a
    word repeated, and ``text_long`` that of batches of very long ones, see
    ``thex_hf.conversion.training.strange``. All but the first are for following a model, since
    labels do not fit such texts. With held-out texts the model is scored ``checks`` times on the
    way, evenly spread, the best one is kept, and training stops after ``patience`` scores in a row
    that are no better.
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


class DivergenceGuard:
    """Tells when a loss has run away."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.limit, self.above = math.inf, 0

    def check(self, loss: float, step: int) -> None:
        """Look at the loss of one step.

        Raises:
            DivergenceError: it is not a finite number, or exploded and stayed so.
        """
        where = f"{self.name}: the loss"
        advice = "nothing was saved. Use a lower learning rate or more weight decay."
        if not math.isfinite(loss):
            raise DivergenceError(
                f"{where} became {loss} at step {step + 1} of {self.steps}; {advice}"
            )
        self.above = self.above + 1 if loss > self.limit else 0
        if self.above == PATIENCE:
            raise DivergenceError(
                f"{where} exploded to {loss:.3g} at step {step + 1} of {self.steps}, the "
                f"{PATIENCE}th in a row more than {EXPLODED:.0f} times the least; {advice}"
            )
        self.limit = min(self.limit, EXPLODED * (1.0 + abs(loss)))
