"""The canonical embedding of CKKS in numpy: which root of unity a slot is.

Slot ``j`` of a plaintext is its polynomial at ``zeta**((-3)**j)``, ``zeta = exp(i pi / N)``
(Cheon et al., 2017, section 3.2).

SEAL's own slots belong to the generator 3, so its odd slots hold the conjugates of ours;
:func:`as_seal_slots` goes from one to the other. With -3 every exponent is 1 modulo 4,
and so the monomial ``x**(N/2)`` is the imaginary unit in every slot: products with it
are exact and free. With 3 it would be ``i`` and ``-i`` by turns.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thex_hf.layout.engines import AnyVector, ComplexVector, Vector

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
