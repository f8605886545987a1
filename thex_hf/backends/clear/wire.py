"""Bytes of the clear engine. **They protect nothing**: the numbers lie open in them.

One small binary header, then the numbers, little-endian:

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
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thex_hf.ckks.engine import AnyVector
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import WireError

MAGIC = b"THXC"
VERSION = 2
VECTOR, RELINEARISATION, ROTATIONS, COMPLEX, PUBLIC, MASKED = range(6)
CONJUGATION = 0  # in place of a step
_HEADER = struct.Struct("<4sBBHI16s16s")
_KEYS = (RELINEARISATION, ROTATIONS, PUBLIC)
_ITEM = {VECTOR: "<f8", COMPLEX: "<c16", MASKED: "<c16", **dict.fromkeys(_KEYS, "<u4")}


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
        if len(data) < _HEADER.size:
            raise WireError(f"clear engine: {len(data)} bytes are shorter than a header")
        magic, version, announced, level, count, digest, tag = _HEADER.unpack_from(data)
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
        announced = _kind(data)
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


def _kind(data: bytes) -> int | None:
    return data[5] if len(data) >= _HEADER.size else None


def tag_of_keys(data: bytes) -> bytes:
    """The key tag inside any bytes of the clear engine, for a server that has no secret.

    Raises:
        WireError: shorter than a header.
    """
    if len(data) < _HEADER.size:
        raise WireError(f"clear engine: {len(data)} bytes are shorter than a header")
    tag: bytes = _HEADER.unpack_from(data)[-1]
    return tag
