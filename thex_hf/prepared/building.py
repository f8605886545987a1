"""How a network is put together: its steps, and at how many bits each number is carried."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.errors import PlanError
from thex_hf.prepared.field import MOST_WEIGHT_BITS, Integers, Reals
from thex_hf.prepared.forms import Form
from thex_hf.prepared.network import Linear, Product, Remask, Step, Value

WEIGHT_BITS = 14
"""Of a linear map, what its result is cut by: the most that its weights have after the point."""
LEAST_BITS = 10
"""After the point of squares, which weights make small again."""


@dataclass(frozen=True)
class Sum:
    """``sum_i x_i @ W_i.T + bias``: what is not yet computed, since a further map joins it.

    Args:
        terms: values under masks that the client draws, ``(rows, k)``, and matrices ``(o, k)``.
        bias: ``(o,)``.
    """

    terms: tuple[tuple[Value, Reals], ...]
    bias: Reals

    @classmethod
    def of(cls, value: Value, scale: Reals | None = None, bias: Reals | None = None) -> Sum:
        """A value, each feature of it scaled and shifted."""
        size = value.shape[1]
        scale = np.ones(size) if scale is None else scale
        return cls(((value, np.diag(scale)),), np.zeros(size) if bias is None else bias)

    def through(self, affine: Affine) -> Sum:
        """A map of it."""
        terms = tuple((value, affine.weight @ matrix) for value, matrix in self.terms)
        return Sum(terms, affine.weight @ self.bias + affine.bias)

    def plus(self, value: Value, matrix: Reals, bias: Reals) -> Sum:
        """One term more, and a bias."""
        return Sum((*self.terms, (value, matrix)), self.bias + bias)


@dataclass
class Builder:
    """Collects steps.

    Args:
        bits: after the binary point of most values.
    """

    bits: int
    steps: list[Step] = field(init=False, default_factory=list)

    def product(
        self,
        name: str,
        form: Form,
        left: Value,
        right: Value,
        bits: int | None = None,
        constant: Integers | None = None,
    ) -> Value:
        """A product whose result has so many bits after the point, and a constant at these."""
        bits = self.bits if bits is None else bits
        out = Value(name, form.shape(left.shape, right.shape), bits)
        shift = left.bits + right.bits - bits
        self.steps.append(Product(out, form, left, right, shift, constant))
        return out

    def linear(self, name: str, rows: int, total: Sum, bits: int | None = None) -> Value:
        """A sum, computed for the first rows.

        Raises:
            PlanError: weights too large for its numbers.
        """
        bits = self.bits if bits is None else bits
        after = min([bits + WEIGHT_BITS, *(v.bits + most_bits(w) for v, w in total.terms)])
        if after < self.bits + 4:
            raise PlanError(
                f"the weights of {name} reach {max(np.abs(w).max() for _, w in total.terms):.3g}, "
                f"and numbers of {self.bits} bits after the point carry weights up to 2**10; "
                f"convert again with more weight decay"
            )
        whole = [(v, np.rint(w * 2.0 ** (after - v.bits)).astype(np.int16)) for v, w in total.terms]
        out = Value(name, (rows, len(total.bias)), bits)
        constant = np.rint(total.bias * 2.0**bits).astype(np.int64)
        self.steps.append(Linear(out, tuple(whole), constant, after - bits))
        return out

    def remasked(self, name: str, value: Value) -> Value:
        """The result of a linear map under a mask that the client draws."""
        out = Value(name, value.shape, value.bits)
        self.steps.append(Remask(out, value))
        return out

    def bits_for(self, weights: Reals) -> int:
        """Bits of a value that only these weights read: what they do not need themselves."""
        return min(self.bits, max(LEAST_BITS, self.bits + WEIGHT_BITS - most_bits(weights)))


def most_bits(weights: Reals) -> int:
    """The most bits after the point that such weights can have."""
    largest = max(float(np.abs(weights).max(initial=0.0)), 2.0**-20)
    return math.floor(MOST_WEIGHT_BITS - 1e-3 - math.log2(largest))


def bits_of_sum(count: int) -> int:
    """Bits by which a sum of so many numbers may exceed one of them."""
    return max(0, (count - 1).bit_length())
