"""A network computed in the clear, on the integers that the two sides share.

With the server's shares of a run it gives bit for bit what the protocol gave: all that shares
decide is which way a cut number is rounded. Without them, they are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from thex_hf.approximations.activation import relu
from thex_hf.approximations.softmax import estimate, exact, load_reciprocal
from thex_hf.backends.numerics.modular import Words
from thex_hf.bounds import within
from thex_hf.prepared.field import Field, Integers, Reals
from thex_hf.prepared.network import Linear, Network, Product, Remask, Shown, Step, Value

T = TypeVar("T", bound=np.generic)


def inputs(network: Network, numbers: Field, embeddings: Reals) -> tuple[Words, Words]:
    """A text ``(n, d)`` as the client enters it: padded embeddings, and one over ``n``."""
    count = len(embeddings)
    padded = np.zeros(network.embeddings.shape)
    padded[:count] = embeddings
    share = np.zeros(network.mask.shape)
    share[:count] = 1.0 / count
    return (
        numbers.encode(padded, network.embeddings.bits),
        numbers.encode(share, network.mask.bits),
    )


@dataclass
class ClearRun:
    """One text through a network.

    Args:
        network: what to compute.
        numbers: modulo which prime.
        hats: the server's share of every number before it is cut, by the name of the value; where
            one is missing it is drawn.
        wrap_probability: set by :meth:`run`: the sum, over all cut numbers, of how likely they are
            to wrap around. Those of padding do not count: where a wrap reaches nothing.
        largest: set by :meth:`run`: the largest absolute value of each step, as a real number,
            without padding.
        overflown: set by :meth:`run`: whether a function that the client computes gave a number
            too large to be carried.
    """

    network: Network
    numbers: Field
    hats: Mapping[str, Words] = field(default_factory=dict)
    wrap_probability: float = field(init=False, default=0.0)
    largest: dict[str, float] = field(init=False, default_factory=dict)
    overflown: bool = field(init=False, default=False)
    _count: int = field(init=False, default=0)

    def run(self, embeddings: Reals) -> Reals:
        """The logits ``(rows, labels)`` of a text's embeddings ``(n, d)``."""
        network, held = self.network, {}
        self._count = len(embeddings)
        held[network.embeddings.name], held[network.mask.name] = inputs(
            network, self.numbers, embeddings
        )
        for step in network.steps:
            held[step.out.name] = out = self._step(step, held)
            values = self._of_true(np.abs(self.numbers.decode(out, step.out.bits)))
            self.largest[step.out.name] = float(values.max(initial=0.0))
        return self.numbers.decode(held[network.logits.name], network.logits.bits)

    def _step(self, step: Step, held: Mapping[str, Words]) -> Words:
        numbers = self.numbers
        if isinstance(step, Linear):
            total = linear(numbers, step, held)
            return numbers.add(
                self._cut(total, step.out.name, step.shift),
                np.broadcast_to(numbers.of(step.bias), step.out.shape),
            )
        share = held[self.network.mask.name]
        if isinstance(step, Shown):
            return self._shown(step.function, held[step.source.name], step.source, step.out, share)
        if isinstance(step, Product):
            total = step.form.apply(numbers, held[step.left.name], held[step.right.name])
            if step.function:
                return self._shown(step.function, total, step.shown, step.out, share)
            return with_constant(numbers, step, self._cut(total, step.out.name, step.shift))
        if isinstance(step, Remask):
            return held[step.source.name]
        return row_sum(numbers, held[step.source.name])

    def _shown(self, name: str, held: Words, source: Value, out: Value, share: Words) -> Words:
        words, fits = shown(self.numbers, name, held, (source, out), share)
        self.overflown |= not fits
        return words

    def _cut(self, total: Words, name: str, shift: int) -> Words:
        """What both sides' shares of ``total`` give when each is cut."""
        numbers = self.numbers
        sizes = self._of_true(np.abs(numbers.centred(total)))
        self.wrap_probability += float(sizes.sum() / numbers.prime)
        hat = self.hats[name] if name in self.hats else numbers.uniform(total.shape)
        r = numbers.subtract(total, hat)
        return numbers.add(numbers.truncate_hat(hat, shift), numbers.truncate_mask(r, shift))

    def _of_true(self, values: NDArray[T]) -> NDArray[T]:
        """Without rows, queries and keys of padding."""
        count, tokens = self._count, self.network.embeddings.shape[0]
        rows = count if values.shape[-2] == tokens else values.shape[-2]
        return values[:, :rows, :count] if values.ndim == 3 else values[:rows]


def _relu(values: Reals, mask: Reals) -> Reals:
    return relu(values) * mask[: len(values), None]


def _softmax(kind: str) -> Callable[[Reals, Reals], Reals]:
    def apply(scores: Reals, mask: Reals) -> Reals:
        weights = (
            exact(scores, mask) if kind == "exact" else estimate(scores, mask, load_reciprocal())
        )
        return weights * mask[: scores.shape[-2], None]

    return apply


FUNCTIONS: Mapping[str, Callable[[Reals, Reals], Reals]] = {
    "relu": _relu,
    "softmax": _softmax("exact"),
    "estimate": _softmax("estimate"),
}
"""What a client computes of what it is shown, given the 0/1 mask of true tokens: rows of padding
become 0."""


def shown(
    numbers: Field, function: str, held: Words, values: tuple[Value, Value], share: Words
) -> tuple[Words, bool]:
    """What the client makes of a value.

    Args:
        numbers: modulo which prime.
        function: one of :data:`FUNCTIONS`.
        held: the value's integers.
        values: the value, and what becomes of it.
        share: one over the number of true tokens at each of these, 0 at padding.

    Returns:
        The result's integers, and whether all of them fit; those that do not are cut.
    """
    source, out = values
    mask = (share > 0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        result = FUNCTIONS[function](numbers.decode(held, source.bits), mask)
    most = 2.0 ** (numbers.bits - 3 - out.bits)
    cut, largest = within(result, most)
    return numbers.encode(cut, out.bits), largest <= most


def linear(numbers: Field, step: Linear, held: Mapping[str, Words]) -> Words:
    """The weighted sum of a step, before it is cut; leading axes are kept."""
    total: Words | None = None
    for value, weights in step.terms:
        part = numbers.weigh(weights, held[value.name][..., : step.rows, :])
        total = part if total is None else numbers.add(total, part)
    assert total is not None
    return total


def with_constant(numbers: Field, step: Product, out: Words) -> Words:
    """The constant added."""
    if step.constant is None:
        return out
    constant: Integers = step.constant
    return numbers.add(out, np.broadcast_to(numbers.of(constant), out.shape))


def row_sum(numbers: Field, rows: Words) -> Words:
    """``(..., n, k)`` to ``(..., 1, k)``."""
    total = rows[..., :1, :]
    for row in range(1, rows.shape[-2]):
        total = numbers.add(total, rows[..., row : row + 1, :])
    return total
