"""Handles of the clear engine, the modulus they must fit, and their bytes.

**The bytes protect nothing**: the numbers lie open in them. One small binary header, then the
numbers, little-endian:

``4s`` magic ``THXC`` · ``B`` version · ``B`` kind · ``H`` level · ``I`` count · ``16s``
digest of the parameters · ``16s`` tag of the keys · ``count`` items.

Kinds and their items: 0 vector (``f8``), 1 relinearisation (none), 2 rotations (``u4``:
all steps, then their levels; step 0, which no rotation needs, stands for the conjugation),
3 complex vector (``c16``), 4 public key (none), 5 complex vector and what of it float64 does not
hold (``c16``, all of the one and then of the other). The level of a key is the highest that it
can be used at.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thex_hf.backends.numerics.embedding import largest_coefficient, slots_of_reals
from thex_hf.backends.numerics.ntt import primes_of
from thex_hf.ckks.engine import AnyVector, ComplexVector
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import WireError, WrapError

MAGIC = b"THXC"
VERSION = 2
VECTOR, RELINEARISATION, ROTATIONS, COMPLEX, PUBLIC, MASKED = range(6)
CONJUGATION = 0  # in place of a step
_HEADER = struct.Struct("<4sBBHI16s16s")
_KEYS = (RELINEARISATION, ROTATIONS, PUBLIC)
_ITEM = {VECTOR: "<f8", COMPLEX: "<c16", MASKED: "<c16", **dict.fromkeys(_KEYS, "<u4")}


@dataclass(frozen=True, slots=True)
class ClearHandle:
    """A "ciphertext" of the clear engine: the numbers themselves and their accounting.

    Numbers under a mask are far larger than what they hide: ``low`` is what of them float64
    does not hold. Only ``dump`` and ``unblind`` look at it.
    """

    values: AnyVector
    level: int
    degree: int = 1
    size: int = 2
    low: AnyVector | None = None


@dataclass(frozen=True, slots=True)
class ClearPlaintext:
    """An encoded plaintext of the clear engine."""

    values: AnyVector
    level: int
    factor: bool

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes


class Modulus:
    """The primes and bits of each level, and the check that a value does not wrap around."""

    def __init__(self, parameters: Parameters) -> None:
        self._scale, self._degree = parameters.scale, parameters.ring_degree
        *primes, _ = primes_of(parameters)
        self.primes = tuple(primes)
        products = [math.prod(primes[: level + 1]) for level in range(len(primes))]
        self.bits = tuple(product.bit_length() for product in products)
        self._halves = tuple(float(product) / 2 for product in products)

    def scale(self, level: int, degree: int) -> float:
        """Scale of a handle: nominal, or nominal times the level's last prime."""
        return self._scale if degree == 1 else self._scale * self.primes[level]

    def scale_ratio(self, level: int) -> float:
        """What a product of ciphertexts at ``level`` is multiplied by: nominal / prime."""
        return self._scale / self.primes[level]

    def masking(self, level: int) -> ComplexVector:
        """Slots of a polynomial with coefficients uniform modulo the modulus at ``level``."""
        words = np.frombuffer(os.urandom(8 * self._degree), dtype="<u8") >> np.uint64(11)
        bound = self._halves[level] / self._scale
        return slots_of_reals(np.asarray(words * (2.0 * bound / 2.0**53) - bound, np.float64))

    def check(self, values: AnyVector, level: int, degree: int, verb: str) -> None:
        """Refuse what a real machine would wrap around silently into garbage.

        The bound is on coefficients, which never exceed the largest slot; only when that
        quick bound fails are they computed.

        Raises:
            WrapError: value times scale does not fit the modulus at ``level``.
        """
        scale, half = self.scale(level, degree), self._halves[level]
        peak = float(np.abs(values).max())
        if peak * scale < half:
            return
        largest = largest_coefficient(values)
        if not largest * scale < half:
            raise WrapError(
                f"{verb} at level {level}: values up to {peak:.3g} at scale "
                f"2^{math.log2(scale):.1f} do not fit a modulus of {math.log2(half) + 1:.1f} "
                f"bits and would wrap around; use smaller values, a smaller scale or a "
                f"larger first prime"
            )


def key_tag(secret: bytes) -> bytes:
    """What unprotected messages carry in place of encryption: a hash of the secret."""
    return hashlib.sha256(b"thex_hf clear tag" + secret).digest()[:16]


def parameters_digest(parameters: Parameters) -> bytes:
    """A short name of the parameters, to refuse messages made under others."""
    return hashlib.sha256(repr(parameters).encode()).digest()[:16]


@dataclass(frozen=True)
class UnprotectedFormat:
    """Writes and reads the clear engine's bytes for one parameter set and one key."""

    parameters: Parameters
    tag: bytes

    def _pack(self, kind: int, level: int, items: NDArray[np.generic]) -> bytes:
        digest = parameters_digest(self.parameters)
        header = _HEADER.pack(MAGIC, VERSION, kind, level, items.size, digest, self.tag)
        return header + items.astype(_ITEM[kind]).tobytes()

    def _unpack(self, kind: int, data: bytes) -> tuple[int, NDArray[np.generic]]:
        magic, version, announced, level, count, digest, tag = _header(data)
        if (magic, version, announced) != (MAGIC, VERSION, kind):
            raise WireError("clear engine: not its message, or of another version or kind")
        if digest != parameters_digest(self.parameters):
            raise WireError("clear engine: message made under other parameters")
        if tag != self.tag:
            raise WireError("clear engine: message made under other keys")
        item = np.dtype(_ITEM[kind])
        if len(data) != _HEADER.size + count * item.itemsize:
            raise WireError(f"clear engine: {len(data)} bytes do not hold {count} items")
        return level, np.frombuffer(data, item, offset=_HEADER.size)

    def pack_vector(self, values: AnyVector, level: int, low: AnyVector | None = None) -> bytes:
        """One "ciphertext": ``(slots,)`` numbers that anyone can read, exactly ``values + low``."""
        if low is not None:
            return self._pack(MASKED, level, np.concatenate([values, low]))
        return self._pack(COMPLEX if np.iscomplexobj(values) else VECTOR, level, values)

    def unpack_vector(self, data: bytes) -> tuple[AnyVector, int, AnyVector | None]:
        """Numbers and level of a "ciphertext", and what float64 does not hold of the numbers.

        Raises:
            WireError: truncated, foreign, or made under other parameters or keys.
        """
        announced = _header(data)[2]
        kind = announced if announced in (COMPLEX, MASKED) else VECTOR
        level, items = self._unpack(kind, data)
        values: AnyVector = (
            items.astype(np.float64) if kind == VECTOR else items.astype(np.complex128)
        )
        low = None
        if kind == MASKED:
            values, low = values[: self.parameters.slots], values[self.parameters.slots :]
            if low.size != values.size:
                raise WireError(f"clear engine: {items.size} numbers where two vectors belong")
        if level > self.parameters.top_level or values.shape != (self.parameters.slots,):
            raise WireError(f"clear engine: level {level} or {values.size} slots do not fit")
        # a slot is at most N times a coefficient, and those are below the modulus
        room = self.parameters.modulus_bits(level) - self.parameters.scale_bits
        for part in (values,) if low is None else (values, low):
            if not (np.abs(part) < 2.0**room * self.parameters.ring_degree).all():
                raise WireError("clear engine: message holds numbers that no ciphertext can hold")
        return values, level, low

    def pack_steps(self, levels: Mapping[int, int]) -> bytes:
        """Rotation and conjugation "keys": the steps and the levels they reach."""
        return self._pack(ROTATIONS, 0, np.array([*levels, *levels.values()], dtype=np.uint32))

    def unpack_steps(self, data: bytes) -> dict[int, int]:
        """Steps and levels of rotation "keys". Raises WireError as :meth:`unpack_vector`."""
        items = self._unpack(ROTATIONS, data)[1].tolist()
        half, odd = divmod(len(items), 2)
        if odd or not all(level <= self.parameters.top_level for level in items[half:]):
            raise WireError("clear engine: rotation keys without a level of these parameters")
        return dict(zip(items[:half], items[half:], strict=True))

    def pack_token(self, kind: int, level: int) -> bytes:
        """A relinearisation or public "key": only the header."""
        return self._pack(kind, level, np.empty(0, dtype=np.uint32))

    def unpack_token(self, kind: int, data: bytes) -> int:
        """The level of such a "key". Raises WireError as :meth:`unpack_vector`."""
        return self._unpack(kind, data)[0]


def _header(data: bytes) -> tuple[Any, ...]:
    """The fields of the header; WireError where ``data`` is shorter."""
    if len(data) < _HEADER.size:
        raise WireError(f"clear engine: {len(data)} bytes are shorter than a header")
    return _HEADER.unpack_from(data)


def tag_of_keys(data: bytes) -> bytes:
    """The key tag inside any bytes of the clear engine, for a server that has no secret.

    Raises:
        WireError: shorter than a header.
    """
    tag: bytes = _header(data)[-1]
    return tag
