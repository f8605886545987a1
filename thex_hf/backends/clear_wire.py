"""Bytes of the clear engine. **They protect nothing**: the numbers lie open in them.

One small binary header, then float64 numbers, little-endian:

``4s`` magic ``THXC`` · ``B`` version · ``B`` kind (0 vector, 1 relinearisation, 2
rotations) · ``H`` level · ``I`` count · ``16s`` digest of the parameters · ``16s`` tag of
the keys · ``count`` items (``f8`` for a vector, ``u4`` for rotation steps).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thex_hf.errors import WireError
from thex_hf.layout.engines import Vector
from thex_hf.layout.parameters import Parameters

MAGIC = b"THXC"
VERSION = 1
VECTOR, RELINEARISATION, ROTATIONS = 0, 1, 2
_HEADER = struct.Struct("<4sBBHI16s16s")
_ITEM = {VECTOR: "<f8", RELINEARISATION: "<u4", ROTATIONS: "<u4"}


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
        magic, version, found, level, count, digest, tag = _HEADER.unpack_from(data)
        if (magic, version, found) != (MAGIC, VERSION, kind):
            raise WireError("clear engine: not its message, or of another version or kind")
        if digest != parameters_digest(self.parameters):
            raise WireError("clear engine: message made under other parameters")
        if tag != self.tag:
            raise WireError("clear engine: message made under other keys")
        item = np.dtype(_ITEM[kind])
        if len(data) != _HEADER.size + count * item.itemsize:
            raise WireError(f"clear engine: {len(data)} bytes do not hold {count} items")
        return level, np.frombuffer(data, item, offset=_HEADER.size)

    def pack_vector(self, values: Vector, level: int) -> bytes:
        """One "ciphertext": ``(slots,)`` numbers that anyone can read."""
        return self._pack(VECTOR, level, values)

    def unpack_vector(self, data: bytes) -> tuple[Vector, int]:
        """Numbers and level of a "ciphertext".

        Raises:
            WireError: truncated, foreign, or made under other parameters or keys.
        """
        level, items = self._unpack(VECTOR, data)
        values = items.astype(np.float64)
        if level > self.parameters.top_level or values.shape != (self.parameters.slots,):
            raise WireError(f"clear engine: level {level} or {values.size} slots do not fit")
        # a slot is at most N times a coefficient, and those are below the modulus
        room = self.parameters.modulus_bits(level) - self.parameters.scale_bits
        if not (np.abs(values) < 2.0**room * self.parameters.ring_degree).all():
            raise WireError("clear engine: message holds numbers that no ciphertext can hold")
        return values, level

    def pack_steps(self, steps: tuple[int, ...]) -> bytes:
        """Rotation "keys": the list of steps."""
        return self._pack(ROTATIONS, 0, np.array(steps, dtype=np.uint32))

    def unpack_steps(self, data: bytes) -> frozenset[int]:
        """The steps of rotation "keys". Raises WireError as :meth:`unpack_vector`."""
        return frozenset(self._unpack(ROTATIONS, data)[1].tolist())

    def pack_relinearisation(self) -> bytes:
        """A relinearisation "key": only the header."""
        return self._pack(RELINEARISATION, 0, np.empty(0, dtype=np.uint32))

    def check_relinearisation(self, data: bytes) -> None:
        """Raises WireError as :meth:`unpack_vector`."""
        self._unpack(RELINEARISATION, data)


def tag_of_keys(data: bytes) -> bytes:
    """The key tag inside any bytes of the clear engine, for a server that has no secret.

    Raises:
        WireError: shorter than a header.
    """
    if len(data) < _HEADER.size:
        raise WireError(f"clear engine: {len(data)} bytes are shorter than a header")
    tag: bytes = _HEADER.unpack_from(data)[-1]
    return tag
