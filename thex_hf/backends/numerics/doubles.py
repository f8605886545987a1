"""Numbers of about 104 bits, each the unevaluated sum of two float64 (Dekker, 1971).

:class:`Double` is an array of such numbers, :class:`Complex` has two. Additions are those
that keep a result's error small beside its operands, which is what a transform needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Reals: TypeAlias = NDArray[np.float64]
Numbers = TypeVar("Numbers", bound=NDArray[Any])

_SPLIT = float(2**27 + 1)


class Double(NamedTuple):
    """``high + low``, ``low`` at most half a unit in the last place of ``high``."""

    high: Reals
    low: Reals

    @classmethod
    def of(cls, a: Reals, b: Reals) -> Double:
        """``a + b`` exactly, whatever their sizes."""
        return cls(*exact_sum(a, b))

    def plus(self, other: Double) -> Double:
        """The sum."""
        high, low = Double.of(self.high, other.high)
        return _settled(high, low + (self.low + other.low))

    def minus(self, other: Double) -> Double:
        """The difference."""
        return self.plus(other.negative())

    def negative(self) -> Double:
        """The number with its sign changed."""
        return Double(-self.high, -self.low)

    def times(self, other: Double) -> Double:
        """The product."""
        high, low = _product(self.high, other.high)
        return _settled(high, low + (self.high * other.low + self.low * other.high))

    def scaled(self, factor: float) -> Double:
        """The product with a power of two: exact."""
        return Double(self.high * factor, self.low * factor)

    def rounded(self) -> Double:
        """The nearest integer."""
        high = np.rint(self.high)
        return Double.of(high, np.rint((self.high - high) + self.low))

    def each(self, change: Callable[[Reals], Reals]) -> Double:
        """Both parts reordered or reshaped in the same way."""
        return Double(change(self.high), change(self.low))


class Complex(NamedTuple):
    """A complex number."""

    real: Double
    imaginary: Double

    def plus(self, other: Complex) -> Complex:
        """The sum."""
        return Complex(self.real.plus(other.real), self.imaginary.plus(other.imaginary))

    def minus(self, other: Complex) -> Complex:
        """The difference."""
        return Complex(self.real.minus(other.real), self.imaginary.minus(other.imaginary))

    def times(self, other: Complex) -> Complex:
        """The product."""
        a, b, c, d = *self, *other
        return Complex(a.times(c).minus(b.times(d)), a.times(d).plus(b.times(c)))

    def conjugate(self) -> Complex:
        """The conjugate."""
        return Complex(self.real, self.imaginary.negative())

    def each(self, change: Callable[[Reals], Reals]) -> Complex:
        """All parts reordered or reshaped in the same way."""
        return Complex(self.real.each(change), self.imaginary.each(change))


def exact_sum(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
    """``a + b`` in float64 and what is lost by that (Knuth); of complex numbers, part by part."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


def _settled(high: Reals, low: Reals) -> Double:
    """``high + low`` where ``low`` is the smaller."""
    total = high + low
    return Double(total, low - (total - high))


def _product(a: Reals, b: Reals) -> Double:
    """``a * b`` exactly, for numbers below 2**990."""
    (ah, al), (bh, bl) = _halves(a), _halves(b)
    high = a * b
    return Double(high, ((ah * bh - high) + ah * bl + al * bh) + al * bl)


def _halves(a: Reals) -> tuple[Reals, Reals]:
    """26 bits each."""
    turned = _SPLIT * a
    high = turned - (turned - a)
    return high, a - high
