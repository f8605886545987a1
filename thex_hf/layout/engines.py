"""The verbs of a slot machine, as two protocols: what a server can do, what a client can.

A CKKS ciphertext is a vector of N/2 real slots. Everything above (packing,
circuit, planner) is written against these verbs and never knows which library runs.

Handles are opaque. Each has a *level* (how many rescalings are left), a *degree of
scale* (1 after encryption or rescale, 2 after a product) and a *size* (2 parts, or 3
after a ciphertext product until it is relinearised). All verbs are functional: they
return a new handle and never change an argument.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Handle: TypeAlias = Any
Plain: TypeAlias = Any
Vector: TypeAlias = NDArray[np.float64]


class ServerEngine(Protocol):
    """What a server does with ciphertexts. There is no way to decrypt.

    Every method raises :class:`thex_hf.errors.PlanError` when levels, scales or sizes
    do not allow the operation, and when a rotation key is missing.
    """

    @property
    def slots(self) -> int:
        """Real slots in a ciphertext."""
        ...

    def level(self, a: Handle) -> int:
        """Rescalings that ``a`` still allows."""
        ...

    def encode(self, vector: Vector, level: int, *, factor: bool) -> Plain:
        """Encode ``(slots,)`` reals for use with handles at ``level``.

        ``factor=True`` prepares an operand of :meth:`mul_plain` (scaled by the prime that
        the following rescale drops, so the scale returns to nominal exactly);
        ``factor=False`` an operand of :meth:`add_plain` (nominal scale).
        """
        ...

    def add(self, a: Handle, b: Handle) -> Handle:
        """Slot-wise sum; same level and degree of scale. Sizes may differ."""
        ...

    def add_plain(self, a: Handle, p: Plain) -> Handle:
        """Slot-wise sum with a plaintext; degree of scale 1."""
        ...

    def mul_plain(self, a: Handle, p: Plain) -> Handle:
        """Slot-wise product with a plaintext; degree of scale becomes 2."""
        ...

    def mul(self, a: Handle, b: Handle) -> Handle:
        """Slot-wise product of ciphertexts of size 2; result has size 3 and degree 2."""
        ...

    def rescale(self, a: Handle) -> Handle:
        """Drop one prime: level - 1, degree of scale 2 becomes 1. Any size."""
        ...

    def relinearise(self, a: Handle) -> Handle:
        """Size 3 becomes 2 (one key switch)."""
        ...

    def rotate(self, a: Handle, step: int) -> Handle:
        """``result[i] = a[(i + step) % slots]`` (one key switch); size 2 only."""
        ...

    def mod_switch(self, a: Handle, level: int) -> Handle:
        """Drop to a lower ``level`` without changing value or scale."""
        ...

    def load(self, data: bytes) -> Handle:
        """Read a ciphertext that came from the client (fresh, size 2, degree 1).

        Raises:
            WireError: bytes that are not a valid ciphertext of these parameters.
        """
        ...

    def dump(self, a: Handle) -> bytes:
        """Serialise a handle (size 2, degree 1) for the client."""
        ...


class ClientEngine(Protocol):
    """What a client does: the only side that holds the secret key."""

    @property
    def slots(self) -> int:
        """Real slots in a ciphertext."""
        ...

    def encrypt(self, vector: Vector, level: int) -> bytes:
        """Encrypt ``(slots,)`` reals at ``level``; seed-compressed where the library can."""
        ...

    def decrypt(self, data: bytes) -> Vector:
        """Decrypt a ciphertext from the server to ``(slots,)`` reals.

        Raises:
            WireError: bytes that are not a valid ciphertext of these parameters.
        """
        ...
