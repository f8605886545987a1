"""Norms that divide by the deviation, as steps of a network.

Of a row ``z``, centred and divided by the largest deviation of its interval, the squares are
summed to ``v``; a polynomial of ``v`` stands for one over its root; and its number scales the row.
With ``u`` linear in ``v`` from -1 to 1 the polynomial takes ``u^2``, then ``u^3`` and ``u^4`` side
by side, then ``u^5`` to ``u^8``: a round trip for each doubling of its degree. In all a norm of
degree 1, 2, 4, 8 takes 2, 3, 4, 5 round trips.
"""

from __future__ import annotations

import math

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.prepared.building import Builder, Sum, bits_of_sum
from thex_hf.prepared.field import Reals
from thex_hf.prepared.forms import Scaled, Square, SquaredSum, Times
from thex_hf.prepared.network import Value
from thex_hf.weights import InverseRoot

SCALAR_BITS = 16
"""After the point of numbers of which a row has one."""
MOST_FINER = 4
"""Bits more than other values have: each doubles how often a number of the row wraps around."""


def centring(size: int) -> Reals:
    """The matrix that subtracts the mean."""
    return np.eye(size) - 1.0 / size


def read_by(root: InverseRoot, size: int) -> Reals:
    """The map by which a norm reads its rows: it centres them, and divides by one number."""
    return np.asarray(centring(size) / math.sqrt(root.interval[1]))


def finer_bits(root: InverseRoot) -> int:
    """Bits by which an ordinary row, divided by the largest deviation, is smaller than one.

    Ordinary variances lie about the middle of the interval, in powers of two.
    """
    low, high = root.interval
    return min(MOST_FINER, round(math.log2(high / low) / 2))


def normalise(builder: Builder, name: str, rows: int, total: Sum, root: InverseRoot) -> Value:
    """Rows ``(rows, d)`` with their means subtracted and divided by what stands for the deviation.

    Args:
        builder: that gets the steps.
        name: that theirs begin with.
        rows: how many rows are computed.
        total: the rows, not computed yet.
        root: polynomial and interval.

    Raises:
        PlanError: numbers too large.
    """
    size = len(total.bias)
    reader = Affine(read_by(root, size), np.zeros(size))
    finer = finer_bits(root)
    centred = builder.linear(name + "centred", rows, total.through(reader), builder.bits + finer)
    bits = SCALAR_BITS + finer - bits_of_sum(size)
    sums = builder.product(name + "variance", SquaredSum(), centred, centred, bits)
    inverse = builder.linear(
        name + "root", rows, _polynomial(builder, name, sums, root, size), SCALAR_BITS - 2
    )
    return builder.product(name + "normed", Scaled(centred.shape), inverse, centred)


def _polynomial(builder: Builder, name: str, sums: Value, root: InverseRoot, size: int) -> Sum:
    """The polynomial of rows whose squares have these sums, not computed yet."""
    low, high = root.interval
    slope = np.array([[2 * high / (size * (high - low))]])
    u = Affine(slope, np.array([-(low + high) / (high - low)]))
    factors = np.polynomial.chebyshev.cheb2poly(root.coefficients) * math.sqrt(high)
    factors = np.pad(factors, (0, len(root.coefficients) - len(factors)))
    terms: list[tuple[Value, Reals]] = [(sums, factors[1] * slope)]
    bias = factors[0] + factors[1] * u.bias
    if len(factors) > 2:
        powers = _powers(
            builder,
            name,
            builder.linear(name + "u", sums.shape[0], Sum.of(sums).through(u), SCALAR_BITS),
            len(factors) - 1,
        )
        terms += [(value, np.array([[factors[n]]])) for n, value in powers.items()]
    return Sum(tuple(terms), bias)


def _powers(builder: Builder, name: str, u: Value, degree: int) -> dict[int, Value]:
    """``u^2`` to ``u^degree``, each from the two that are there first."""
    found = {1: u}
    for n in range(2, degree + 1):
        half = 1 << ((n - 1).bit_length() - 1)  # the largest power of two below n
        left, right = found[half], found[n - half]
        form = Square(u.shape) if left is right else Times(u.shape)
        found[n] = builder.product(f"{name}u{n}", form, left, right, SCALAR_BITS)
    return {n: value for n, value in found.items() if n > 1}
