"""The raw residues of SEAL's ciphertexts and plaintexts: read, written, and summed.

The binding shows no buffers. Residues are read from what SEAL saves, decompressed by the
zstd inside SEAL's own library, and written as an uncompressed frame, which SEAL validates.
Where that library does not show its zstd, :func:`inflater` has nothing to give.

SEAL multiplies a ciphertext by a number word by word, and so a matrix of numbers costs
outputs times inputs such passes. But on the residues it *is* a matrix product, and those
are what processors do best. A constant ``a + ib`` is the polynomial ``a + b x**(N/2)``, which
in NTT form is ``a + bI`` in the first half of each residue polynomial and ``a - bI`` in the
second, ``I`` a root of -1.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thex_hf.backends.numerics.modular import (
    MOST_TERMS,
    Words,
    matmul,
    products_are_exact,
    reduce,
    residues,
    times,
)
from thex_hf.backends.seal.codec import SealCodec
from thex_hf.backends.seal.context import FRAME_SLACK, SealContext
from thex_hf.backends.seal.serialisation import HEADER_SIZE, frame, from_bytes, to_bytes
from thex_hf.ckks.engine import AnyVector
from thex_hf.errors import PlanError

Inflate: TypeAlias = Callable[..., int]
WeightParts: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]

_LIBRARY = "_sealapi_cpp"
_ZSTD = 2
CIPHERTEXT_FIELDS = struct.Struct("<32sBQQQdQ16sQ")  # up to the number of words; the words follow
_PLAIN_FIELDS = struct.Struct("<4QQd")  # level, number of words, scale; then a frame of the words
_OUTPUTS_AT_A_TIME = 160


@lru_cache(maxsize=1)
def inflater() -> Inflate | None:
    """``ZSTD_decompress`` of SEAL's library, or None where it is not shown."""
    module = sys.modules.get(_LIBRARY) or sys.modules.get(f"tenseal.sealapi.{_LIBRARY}")
    if sys.byteorder != "little" or module is None:
        return None
    try:
        function = ctypes.CDLL(str(module.__file__)).ZSTD_decompress
    except (AttributeError, OSError):
        return None
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    inflate: Inflate = function
    return inflate


class CiphertextFormat:
    """How ciphertexts of two parts at one level look in bytes.

    Args:
        seal: the context.
        limbs: primes of the level.
        sample: a ciphertext of that level; what is written looks like it.

    Raises:
        PlanError: this SEAL writes ciphertexts in another way than we know.
    """

    def __init__(self, seal: SealContext, limbs: int, sample: Any) -> None:
        self._seal = seal
        self.shape = (2, limbs, seal.parameters.ring_degree)
        self._count = 2 * limbs * seal.parameters.ring_degree
        self._size = CIPHERTEXT_FIELDS.size + 8 * self._count
        saved = to_bytes(sample.save)
        self._like = saved[:HEADER_SIZE]
        raw = inflated(saved, self._size)
        self._head = bytes(raw[: CIPHERTEXT_FIELDS.size])
        _, _, parts, degree, primes, *_, count = CIPHERTEXT_FIELDS.unpack(self._head)
        if (parts, primes, degree, count) != (*self.shape, self._count):
            raise PlanError(
                f"combine cannot read this SEAL's ciphertexts: parts, primes, degree, words are "
                f"{(parts, primes, degree, count)}, not {(*self.shape, self._count)}"
            )

    def read(self, ciphertext: Any) -> Words:
        """The words, of shape ``(2, limbs, N)``."""
        raw = inflated(to_bytes(ciphertext.save), self._size)
        return np.frombuffer(raw, "<u8", self._count, CIPHERTEXT_FIELDS.size).reshape(self.shape)

    def write(self, words: Words) -> Any:
        """A ciphertext of these words; SEAL checks them."""
        ciphertext = self._seal.api.Ciphertext()
        data = frame(self._head + words.tobytes(), like=self._like)
        context, limit = self._seal.context, self._seal.ciphertext_limit()
        from_bytes(
            lambda path: ciphertext.load(context, path), data, what="ciphertext", limit=limit
        )
        return ciphertext


def inflated(saved: bytes, size: int) -> bytearray:
    """The contents of a frame that SEAL has saved; :func:`inflater` must have something to give.

    Args:
        saved: the frame.
        size: bytes that it must hold.

    Raises:
        PlanError: it holds more or fewer.
    """
    contents = saved[HEADER_SIZE:]
    if saved[5] != _ZSTD:
        raw, held = bytearray(contents), len(contents)
    else:
        inflate = inflater()
        assert inflate is not None
        raw = bytearray(size)
        target = (ctypes.c_char * size).from_buffer(raw)
        held = inflate(target, size, contents, len(contents))
    if held != size:
        raise PlanError(f"expected {size} bytes from this SEAL, got {held}: it is an unknown one")
    return raw


class PlaintextFormat:
    """Reads and writes plaintexts in NTT form at the nominal scale. Holds no key."""

    def __init__(self, seal: SealContext) -> None:
        self._seal = seal
        self._degree = seal.parameters.ring_degree
        self._like = to_bytes(seal.api.Plaintext().save)

    def read(self, plaintext: Any, level: int) -> Words:
        """The words, of shape ``(level + 1, N)``.

        Raises:
            PlanError: this SEAL writes plaintexts in another way than we know.
        """
        shape = (level + 1, self._degree)
        count = (level + 1) * self._degree
        if inflater() is None:
            return np.fromiter(map(plaintext.data, range(count)), np.uint64, count).reshape(shape)
        raw = inflated(to_bytes(plaintext.save), _PLAIN_FIELDS.size + 24 + 8 * count)
        return np.frombuffer(raw, "<u8", count, _PLAIN_FIELDS.size + 24).reshape(shape)

    def write(self, words: Words, level: int) -> Any:
        """A plaintext of ``(level + 1, N)`` words; SEAL checks them."""
        plaintext = self._seal.api.Plaintext()
        inner = frame(struct.pack("<Q", words.size) + words.tobytes(), like=self._like)
        fields = _PLAIN_FIELDS.pack(*self._seal.ids[level], words.size, self._seal.parameters.scale)
        data = frame(fields + inner, like=self._like)
        context, limit = self._seal.context, 8 * words.size + FRAME_SLACK
        from_bytes(lambda path: plaintext.load(context, path), data, what="plaintext", limit=limit)
        return plaintext


class ResidueCombiner:
    """Combines ciphertexts. Holds no key."""

    def __init__(self, seal: SealContext) -> None:
        self._seal = seal
        self._codec = SealCodec(seal)
        self._roots: dict[int, list[int]] = {}

    @property
    def usable(self) -> bool:
        """Whether residues can be read here at all, and their products are exact."""
        return inflater() is not None and products_are_exact()

    def combine(
        self, ciphertexts: list[Any], level: int, weights: AnyVector, bias: AnyVector
    ) -> Iterator[Any]:
        """``bias + weights @ ciphertexts`` at scale ``nominal * prime``, not yet rescaled.

        Args:
            ciphertexts: n of two parts in NTT form at ``level``.
            level: theirs.
            weights: ``(m, n)`` numbers.
            bias: ``(m,)`` numbers.

        Yields the m sums; their scale is for the caller to set.

        Raises:
            PlanError: weights too large for the machine, or too many inputs.
        """
        if len(ciphertexts) > MOST_TERMS:
            raise PlanError(f"combine takes {MOST_TERMS} handles at most, got {len(ciphertexts)}")
        form = CiphertextFormat(self._seal, level + 1, ciphertexts[0])
        words = np.empty((len(ciphertexts), *form.shape), np.uint64)
        for row, ciphertext in zip(words, ciphertexts, strict=True):
            row[:] = form.read(ciphertext)
        real, imaginary = _integers(weights, float(self._seal.primes[level]))
        real[~(real.any(axis=1) | imaginary.any(axis=1)), 0] = 1  # zeros would be transparent
        for start in range(0, len(bias), _OUTPUTS_AT_A_TIME):
            rows = slice(start, start + _OUTPUTS_AT_A_TIME)
            for total in self._sums(words, level, (real[rows], imaginary[rows]), bias[rows]):
                yield form.write(total)

    def _sums(self, words: Words, level: int, factors: WeightParts, bias: AnyVector) -> Words:
        """``(outputs, 2, limbs, N)`` words."""
        half = self._seal.parameters.ring_degree // 2
        scale = int(self._seal.parameters.scale) * self._seal.primes[level]
        out = np.empty((len(bias), *words.shape[1:]), np.uint64)
        for limb, prime in enumerate(self._seal.primes[: level + 1]):
            root = self._roots_at(level)[limb]
            real, imaginary = (residues(f, prime) for f in factors)
            shift = _exact(bias.real, scale, prime)
            imaginary_words = times(imaginary, root, prime)
            imaginary_shift = times(_exact(bias.imag, scale, prime), root, prime)
            for first in (True, False):
                place = slice(0, half) if first else slice(half, 2 * half)
                matrix = reduce(
                    real + (imaginary_words if first else prime - imaginary_words), prime
                )
                added = reduce(
                    shift + (imaginary_shift if first else prime - imaginary_shift), prime
                )
                sums = matmul(matrix, words[:, :, limb, place], prime)
                sums[:, 0] = reduce(sums[:, 0] + added[:, None], prime)
                out[:, :, limb, place] = sums
        return out

    def _roots_at(self, level: int) -> list[int]:
        """For each prime, what the imaginary unit is in the first half of a polynomial."""
        if level not in self._roots:
            degree = self._seal.parameters.ring_degree
            everywhere = np.full(degree // 2, 1j)
            unit = self._codec.encode(everywhere, level, 1.0, "combine")
            roots = [int(unit.data(limb * degree)) for limb in range(level + 1)]
            for limb, root in enumerate(roots):
                ends = [unit.data(limb * degree + k) for k in (degree // 2 - 1, degree - 1)]
                assert ends == [root, self._seal.primes[limb] - root], "NTT order is not SEAL's"
            self._roots[level] = roots
        return self._roots[level]


def _integers(weights: AnyVector, scale: float) -> WeightParts:
    """Real and imaginary parts times ``scale``, rounded."""
    largest = float(np.abs(weights).max()) * scale
    if largest >= 2.0**62:
        raise PlanError(f"combine: weights up to {largest / scale:.3g} are too large")
    parts = (weights.real, weights.imag)
    real, imaginary = (np.rint(part * scale).astype(np.int64) for part in parts)
    return real, imaginary


def _exact(values: AnyVector, scale: int, prime: int) -> Words:
    """``values * scale`` modulo ``prime``; ``scale`` may have more bits than a float."""
    return np.array([int(v * 2.0**40) * scale // 2**40 % prime for v in values], np.uint64)
