"""The canonical embedding of CKKS in twice the precision of float64, both ways.

Polynomials modulo a ciphertext modulus have 65 to 110 bits, which float64 does not hold. So
:class:`Double` is an array of numbers of about 104 bits, each the unevaluated sum of two float64
(Dekker, 1971), and :class:`Complex` has two. Additions are those that keep a result's error small
beside its operands, which is what a transform needs.

With ``zeta = exp(i pi / N)`` slot ``j`` is the polynomial at ``zeta**(4k + 1)``, where
``4k + 1 = (-3)**j mod 2N``. Coefficients ``n`` and ``n + N/2`` share the powers of ``zeta**4``, so
``(c[n] + i c[n + N/2]) zeta**n`` goes through one transform of N/2 points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from thex_hf.ckks.engine import AnyVector, ComplexVector, Vector

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


_BITS = 200  # of the fixed-point numbers that roots are made of


def slots_of(coefficients: Double) -> Complex:
    """Slots ``(N/2,)`` of the real polynomial with ``coefficients`` ``(N,)``, a power of two."""
    degree = coefficients.high.size
    half = degree // 2
    pairs = Complex(coefficients.each(lambda a: a[:half]), coefficients.each(lambda a: a[half:]))
    values = _transform(pairs.times(_roots(degree).each(lambda a: a[:half])))
    order = (slot_exponents(degree) - 1) // 4
    return values.each(lambda a: a[order])


def coefficients_of(slots: Complex) -> Double:
    """Coefficients ``(N,)`` of the real polynomial with ``slots`` ``(N/2,)``."""
    half = slots.real.high.size
    degree = 2 * half
    order = np.argsort(slot_exponents(degree))
    values = _transform(slots.each(lambda a: a[order]).conjugate())
    turned = values.times(_roots(degree).each(lambda a: a[:half])).conjugate()
    parts = (turned.real.scaled(1 / half), turned.imaginary.scaled(1 / half))
    return Double(*(np.concatenate(pair) for pair in zip(*parts, strict=True)))


def _transform(x: Complex) -> Complex:
    """``y[k] = sum_n x[n] exp(2 pi i n k / size)``, by Stockham's order of the butterflies."""
    size = x.real.high.size
    roots, length = _roots(2 * size), size // 2
    while length:
        first, second = (_half(x, length, part) for part in (0, 1))
        factors = _every(roots, 2 * size // length)
        x = _joined(first.plus(second), first.minus(second).times(factors), 1).each(np.ravel)
        length //= 2
    return x


def _every(roots: Complex, step: int) -> Complex:
    return roots.each(lambda a: a[::step, None])


def _half(x: Complex, length: int, part: int) -> Complex:
    return x.each(lambda a: a.reshape(2, length, -1)[part])


def _joined(first: Complex, second: Complex, axis: int) -> Complex:
    """Two arrays of complex numbers, one after the other along ``axis``."""
    parts = [
        np.concatenate(pair, axis=axis)
        for a, b in zip(first, second, strict=True)
        for pair in zip(a, b, strict=True)
    ]
    return Complex(Double(*parts[:2]), Double(*parts[2:]))


@lru_cache(maxsize=8)
def _roots(degree: int) -> Complex:
    """``exp(i pi n / N)`` for ``n`` below N."""
    powers = _number(1 << _BITS, 0)
    cosine, steps = -1 << _BITS, []
    for _ in range(degree.bit_length() - 1):  # half the angle, from pi down to 2 pi / N
        cosine, sine = (math.isqrt((1 << _BITS) + sign * cosine << _BITS - 1) for sign in (1, -1))
        steps.append(_number(cosine, sine))
    for step in reversed(steps):
        powers = _joined(powers, powers.times(step), 0)
    return powers


def _number(real: int, imaginary: int) -> Complex:
    """One complex number, from fixed-point integers."""
    return Complex(_double(real), _double(imaginary))


def _double(fixed: int) -> Double:
    high = math.ldexp(fixed, -_BITS)
    low = math.ldexp(fixed - int(math.ldexp(high, _BITS)), -_BITS)
    return Double(np.array([high]), np.array([low]))


_GENERATOR = -3


@lru_cache(maxsize=8)
def slot_exponents(ring_degree: int) -> NDArray[np.int64]:
    """``(-3)**j mod 2N`` for each of the N/2 slots."""
    powers = np.empty(ring_degree // 2, dtype=np.int64)
    power = 1
    for j in range(ring_degree // 2):
        powers[j] = power
        power = power * _GENERATOR % (2 * ring_degree)
    return powers


def galois_element(step: int, ring_degree: int) -> int:
    """The element of the automorphism that rotates slots left by ``step``."""
    return pow(_GENERATOR, step % (ring_degree // 2), 2 * ring_degree)


def as_seal_slots(values: ComplexVector) -> ComplexVector:
    """Our ``(N/2,)`` slots in SEAL's convention, or the other way round: odd ones conjugated."""
    turned = values.copy()
    turned[1::2] = values[1::2].conj()
    return turned


def conjugation_element(ring_degree: int) -> int:
    """The element of the automorphism that conjugates every slot."""
    return 2 * ring_degree - 1


def largest_coefficient(values: AnyVector) -> float:
    """Largest absolute coefficient of the real polynomial with slots ``values``.

    Shape:
        values: ``(N/2,)`` real or complex; the other roots of unity are the conjugates of
        these, and so are the values there. The result is in slot units; times the scale
        it is the integer that must stay below half the modulus.
    """
    degree = 2 * values.size
    exponents = slot_exponents(degree)
    spectrum = np.zeros(degree, values.dtype)
    spectrum[(exponents - 1) // 2] = values
    spectrum[(2 * degree - exponents - 1) // 2] = values.conj()
    twist = np.exp(-1j * np.pi * np.arange(degree) / degree)
    return float(np.abs((twist * np.fft.fft(spectrum)).real).max() / degree)


def slots_of_reals(coefficients: Vector) -> ComplexVector:
    """Slots ``(N/2,)`` of the polynomial with real ``coefficients`` ``(N,)``, in float64."""
    degree = coefficients.size
    half = degree // 2
    pairs = coefficients[:half] + 1j * coefficients[half:]
    values = np.fft.ifft(pairs * np.exp(1j * np.pi * np.arange(half) / degree), norm="forward")
    return np.asarray(values[(slot_exponents(degree) - 1) // 4])


@lru_cache(maxsize=8)
def ones_power(ring_degree: int) -> Vector:
    """``|1 + x + ... + x**(N-1)|**2`` in each slot, which is ``4 / |1 - root|**2``.

    Very uneven: about ``(2N/pi)**2`` in slot 0 and near 1 in most others.
    """
    angles = np.pi * slot_exponents(ring_degree) / ring_degree
    return np.asarray(1.0 / np.sin(angles / 2) ** 2)
