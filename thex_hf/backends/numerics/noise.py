r"""How large the errors of CKKS in SEAL are, slot by slot.

An error polynomial whose coefficients have standard deviation ``s`` has slot errors whose
real and imaginary parts each have standard deviation ``s * sqrt(N/2) / scale``, and are
independent (canonical embedding). All methods of :class:`NoiseModel` return standard
deviations of one such part in slot units, to be added to values.

Sources: Cheon, Kim, Kim, Song, "Homomorphic Encryption for Arithmetic of Approximate
Numbers" (2017), lemmas 1-4, for encoding, rescaling and key switching; SEAL's
``switch_key_inplace`` for the digits (one for each prime, *not* centred, one special
prime), ``clipnormal.h``/``rlwe.cpp`` for the error distribution and ``encryptor.cpp`` for
public-key encryption, which is made one prime higher and rescaled. The two effects
worth knowing, both measured:

* rescaling at size 3 rounds the part that multiplies ``s**2``; its error is about
  ``sqrt(4N/3)`` times (N=8192: 100 times) that of rescaling at size 2;
* digits of a key switch lie in ``[0, q)``, so their mean ``q/2 * (1 + x + ...)`` multiplies
  the key's error as well. That is nothing in most slots and large in slot 0
  (N=8192: 20 times the rest).
"""

from __future__ import annotations

import math

import numpy as np

from thex_hf.backends.numerics.embedding import ones_power
from thex_hf.backends.numerics.ntt import primes_of
from thex_hf.ckks.engine import AnyVector, Vector
from thex_hf.ckks.parameters import Parameters

ERROR_STD = math.sqrt(21 / 2)  # SEAL: centred binomial of 42 coin pairs, 3.24
ROUNDING_VARIANCE = 1 / 12  # uniform on [-1/2, 1/2]
FLOAT_EPSILON = 2.0**-53
COINS = 64  # one word of the generator; SEAL's own errors are 21 coins less 21 others
FFT_ERROR = 1.75  # times epsilon times rms; calibrated at N=8192 against SEAL


class NoiseModel:
    """Standard deviations of the errors under one parameter set and one secret.

    Args:
        parameters: the CKKS parameters.
        generator: draws the secret's size in each slot, then every error.
    """

    def __init__(self, parameters: Parameters, generator: np.random.Generator) -> None:
        self._generator = generator
        self._degree = parameters.ring_degree
        self._unit = math.sqrt(parameters.ring_degree / 2)
        *self._primes, self._special = (float(q) for q in primes_of(parameters))
        # |s|^2 in a slot: s has N ternary coefficients, so it is exponential, mean 2N/3
        self._secret = generator.exponential(2 * parameters.ring_degree / 3, parameters.slots)
        self._roundings: dict[int, Vector] = {}
        self._switches: dict[tuple[int, float], Vector] = {}

    def draw(self, std: Vector | float) -> Vector:
        """One real error for each slot, with standard deviation ``std``.

        Heads among :data:`COINS` coins, centred: as good as normal where many errors add up,
        never beyond eight deviations, and three times as fast to draw.
        """
        coins = np.bitwise_count(self._generator.bit_generator.random_raw(self._secret.size))
        return np.asarray((coins - COINS / 2) * (std * (2 / math.sqrt(COINS))))

    def disturb(self, values: AnyVector, std: Vector | float) -> AnyVector:
        """``values`` plus an error of ``std`` in each slot; in both parts where complex.

        Real values stay real: the imaginary part of their error is not kept, because as
        long as they stay real it never reaches a real part. A sum ``a + i*b`` of two such
        has too little error for that, by a factor of up to ``sqrt(2)``.
        """
        error: AnyVector = self.draw(std)
        if np.iscomplexobj(values):
            error = error + 1j * self.draw(std)
        disturbed: AnyVector = values + error
        return disturbed

    def fresh(self, scale: float) -> float:
        """Symmetric encryption: the error polynomial alone."""
        return ERROR_STD * self._unit / scale

    def encode(self, scale: float) -> float:
        """Rounding the coefficients of a plaintext to integers."""
        return math.sqrt(ROUNDING_VARIANCE) * self._unit / scale

    def float_error(self, values: AnyVector) -> float:
        """float64 round-off of one FFT, in encoding or in decoding ``values``."""
        return FFT_ERROR * FLOAT_EPSILON * float(np.sqrt(np.mean(np.abs(values) ** 2)))

    def rounding(self, size: int) -> Vector:
        """Rounding each of ``size`` parts, in coefficient units times sqrt(N/2).

        ``sqrt((1 + |s|**2 (+ |s|**4)) / 12)``; over all slots the mean square is
        ``(1 + 2N/3 (+ 8N**2/9)) / 12``.
        """
        if size not in self._roundings:
            total = 1 + self._secret + (self._secret**2 if size == 3 else 0.0)
            self._roundings[size] = np.sqrt(ROUNDING_VARIANCE * total) * self._unit
        return self._roundings[size]

    def rescale(self, size: int, scale: float) -> Vector:
        """Rescaling a ciphertext of ``size`` parts; ``scale`` is that of the result."""
        return self.rounding(size) / scale

    def key_switch(self, level: int, scale: float) -> Vector:
        """Rotation or relinearisation at ``level``.

        Digit ``i`` is uniform on ``[0, q_i)``: in a slot its mean square is
        ``N q_i**2 / 12 + (q_i/2)**2 |1 + x + ...|**2``, and it multiplies an error of
        standard deviation :data:`ERROR_STD`; the sum is divided by the special prime
        and rounded.
        """
        if (level, scale) not in self._switches:
            squares = sum(q * q for q in self._primes[: level + 1])
            digits = squares * (self._degree / 12 + ones_power(self._degree) / 4)
            switched = digits * (ERROR_STD * self._unit / self._special) ** 2
            self._switches[level, scale] = np.sqrt(switched + self.rounding(2) ** 2) / scale
        return self._switches[level, scale]

    def public(self, level: int, scale: float) -> Vector:
        """Public-key encryption at ``level``, by SEAL made one prime higher and rescaled.

        Before the rescale it has the errors ``u*e + e0 + e1*s`` with ternary ``u``.
        """
        higher = [*self._primes, self._special][level + 1]
        before = (ERROR_STD * self._unit / higher) ** 2 * (1 + self._secret + 2 * self._degree / 3)
        return np.asarray(np.sqrt(before + self.rounding(2) ** 2) / scale)
