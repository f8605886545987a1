"""What a server sends: flooded, and without the bits that only hold noise.

An answer has two primes of 60 bits, and noise that is half a unit of the plain modulus long. So
the low bits of both polynomials can go (as in switching to a smaller modulus), 64 bits of the
first and 72 of the second stay, and the client takes the middle of what it lacks. What is
dropped of the second polynomial counts times the secret key; see :mod:`.noise`.
"""

from __future__ import annotations

import hashlib
import math
import os

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import PlanError, WireError
from thex_hf.prepared.bfv.lazily import Factors, lowered
from thex_hf.prepared.bfv.parameters import REPLY_LIMBS, BfvParameters

KEPT_BITS = (64, 72)  # of a coefficient of each polynomial
MOST_FLOODING = 62  # bits of an integer that is drawn
_WORD, _CUT, _HALF = 64, 60, np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)
_HEAD = 16  # bytes that name the parameters


def dropped_bits(parameters: BfvParameters) -> tuple[int, int]:
    """Bits that a coefficient of each polynomial loses.

    Raises:
        PlanError: the first two primes have too few bits for that, or too many.
    """
    bits = math.prod(parameters.primes[:REPLY_LIMBS]).bit_length()
    if not KEPT_BITS[1] < bits < 2 * _WORD - 4:
        raise PlanError(f"the first two primes have {bits} bits, no room for an answer's noise")
    return bits - KEPT_BITS[0], bits - KEPT_BITS[1]


class AnswerFormat:
    """Answers in bytes: the name of the parameters, then the kept bits, little-endian.

    Args:
        parameters: the BFV parameters.

    Raises:
        PlanError: as :func:`dropped_bits`.
    """

    def __init__(self, parameters: BfvParameters) -> None:
        name = f"thex_hf BFV answer 1 {parameters.to_json()}"
        self._head = hashlib.sha256(name.encode()).digest()[:_HEAD]
        self._degree = parameters.ring_degree
        self._drops = dropped_bits(parameters)
        self._primes = first, second = parameters.primes[:REPLY_LIMBS]
        self._modulus = first * second
        self._inverse = _factor(pow(first, -1, second), second)
        self._scales = [
            [[_factor(1 << drop + part, prime) for part in (0, _CUT)] for prime in self._primes]
            for drop in self._drops
        ]

    @property
    def size(self) -> int:
        """Bytes of an answer."""
        return _HEAD + self._degree * sum(KEPT_BITS) // 8

    def write(self, words: Words, flooding: int) -> bytes:
        """The bytes of a ciphertext's ``(2, 2, N)`` words, flooded by so many bits."""
        flooded = _flooded(words[0], flooding, self._primes)
        first, _ = self._kept(flooded, self._drops[0])
        second, top = self._kept(words[1], self._drops[1])
        parts = (first.tobytes(), second.tobytes(), top.astype(np.uint8).tobytes())
        return self._head + b"".join(parts)

    def read(self, data: bytes) -> Words:
        """Words ``(2, 2, N)``. Raises WireError when these bytes are no answer."""
        if len(data) != self.size or data[:_HEAD] != self._head:
            raise WireError(
                f"{len(data)} bytes are no answer of {self.size} under the parameters in use; "
                f"check that both sides use the same plan"
            )
        lows = np.frombuffer(data, "<u8", 2 * self._degree, _HEAD).reshape(2, -1)
        tops = np.zeros_like(lows)
        tops[1] = np.frombuffer(data, np.uint8, self._degree, _HEAD + lows.nbytes)
        most = [self._modulus >> drop for drop in self._drops]
        if int(lows[0].max()) > most[0] or int(tops[1].max()) > most[1] >> _WORD:
            raise WireError("an answer has numbers that are not below its modulus")
        out = np.empty((2, REPLY_LIMBS, self._degree), np.uint64)
        for part, (drop, scales) in enumerate(zip(self._drops, self._scales, strict=True)):
            high = tops[part] << np.uint64(_WORD - _CUT) | lows[part] >> np.uint64(_CUT)
            low = lows[part] & np.uint64((1 << _CUT) - 1)
            for limb, prime in enumerate(self._primes):
                total = scales[limb][0].times(low.view(np.int64))
                total += scales[limb][1].times(high.view(np.int64))
                total += np.int64((1 << drop - 1) % prime)
                out[part, limb] = lowered(total, prime)
        return out

    def _kept(self, words: Words, drop: int) -> tuple[Words, Words]:
        """The low 64 and the other bits of ``(2, N)`` residues' numbers, without ``drop`` bits."""
        first, second = words.view(np.int64)
        digit = lowered(self._inverse.times(second - first), self._primes[1])
        low, high = _wide(digit, self._primes[0])
        low += words[0]
        high += low < words[0]
        down, up = np.uint64(drop), np.uint64(_WORD - drop)
        return low >> down | high << up, high >> down


def _flooded(words: Words, bits: int, primes: tuple[int, ...]) -> Words:
    """``(2, N)`` residues plus those of integers uniform on ``-2**bits .. 2**bits - 1``."""
    drawn = np.frombuffer(os.urandom(8 * words.shape[1]), "<i8") >> (_WORD - 1 - bits)
    limbs = zip(words.view(np.int64), primes, strict=True)
    return np.stack([lowered(one + drawn, prime) for one, prime in limbs])


def _factor(number: int, prime: int) -> Factors:
    return Factors(np.array(number % prime, np.uint64), prime)


def _wide(words: Words, factor: int) -> tuple[Words, Words]:
    """The low and the high 64 bits of ``words * factor``."""
    low, high = np.uint64(factor & int(_LOW)), np.uint64(factor >> 32)
    first, second = words & _LOW, words >> _HALF
    lowest, mixed, outer = first * low, first * high, second * low
    middle = (lowest >> _HALF) + (mixed & _LOW) + (outer & _LOW)
    top = second * high + (mixed >> _HALF) + (outer >> _HALF) + (middle >> _HALF)
    return (lowest & _LOW) | (middle << _HALF), top
