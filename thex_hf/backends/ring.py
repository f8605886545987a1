"""The canonical embedding of CKKS in numpy: which root of unity a slot is.

Slot ``j`` of a plaintext is its polynomial at ``zeta**(3**j)``, ``zeta = exp(i pi / N)``
(Cheon et al., 2017, section 3.2; SEAL uses the generator 3).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thex_hf.layout.engines import Vector


@lru_cache(maxsize=8)
def slot_exponents(ring_degree: int) -> NDArray[np.int64]:
    """``3**j mod 2N`` for each of the N/2 slots."""
    powers = np.empty(ring_degree // 2, dtype=np.int64)
    power = 1
    for j in range(ring_degree // 2):
        powers[j] = power
        power = power * 3 % (2 * ring_degree)
    return powers


def galois_element(step: int, ring_degree: int) -> int:
    """The element of the automorphism that rotates slots left by ``step``."""
    return pow(3, step % (ring_degree // 2), 2 * ring_degree)


def largest_coefficient(values: Vector) -> float:
    """Largest absolute coefficient of the real polynomial with slots ``values``.

    Shape:
        values: ``(N/2,)``. The result is in slot units; times the scale it is the integer
        that must stay below half the modulus.
    """
    degree = 2 * values.size
    exponents = slot_exponents(degree)
    spectrum = np.zeros(degree)
    spectrum[(exponents - 1) // 2] = values
    spectrum[(2 * degree - exponents - 1) // 2] = values
    twist = np.exp(-1j * np.pi * np.arange(degree) / degree)
    return float(np.abs((twist * np.fft.fft(spectrum)).real).max() / degree)


@lru_cache(maxsize=8)
def ones_power(ring_degree: int) -> Vector:
    """``|1 + x + ... + x**(N-1)|**2`` in each slot, which is ``4 / |1 - root|**2``.

    Very uneven: about ``(2N/pi)**2`` in slot 0 and near 1 in most others.
    """
    angles = np.pi * slot_exponents(ring_degree) / ring_degree
    return np.asarray(1.0 / np.sin(angles / 2) ** 2)
