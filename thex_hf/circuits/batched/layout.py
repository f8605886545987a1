"""Which element of ``(texts, tokens, features)`` lies in which slot, many texts at a time.

Slot ``t * B + s`` belongs to token ``t`` of text ``s``, with ``B = slots / tokens`` texts. A
rotation by ``k * B`` moves tokens by ``k``, cyclically over the whole ciphertext.

Kinds:

==========  ======================================================================
``pairs``   ciphertext ``j`` holds features ``2j`` (real part) and ``2j + 1`` (imaginary)
``row``     the same, token 0 in the place of every token
``plain``   one real feature a ciphertext
``answer``  the same, token 0 only; all other slots are zero
==========  ======================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thex_hf.ckks.engine import AnyVector, ComplexVector, Vector
from thex_hf.ckks.packing.moves import Move
from thex_hf.errors import PlanError

KINDS = ("pairs", "row", "plain", "answer")


@dataclass(frozen=True)
class BatchLayout:
    """Packing of an array ``(texts, tokens, features)``, see the module's table of kinds.

    Raises:
        PlanError: an unknown kind, or tokens do not divide the slots.
    """

    slots: int
    kind: str
    tokens: int
    features: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PlanError(f"unknown batch layout {self.kind!r}; use one of {KINDS}")
        if self.slots % self.tokens:
            raise PlanError(f"{self.tokens} tokens do not divide {self.slots} slots")

    @property
    def texts(self) -> int:
        """Texts in one ciphertext (B)."""
        return self.slots // self.tokens

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts in all."""
        paired = self.kind in ("pairs", "row")
        return -(-self.features // 2) if paired else self.features

    def pack(self, values: Vector) -> list[AnyVector]:
        """Slot vectors of ``values`` of shape ``(texts, tokens, features)``.

        Raises:
            PlanError: another shape.
        """
        wanted = (self.texts, self.tokens, self.features)
        if values.shape != wanted:
            raise PlanError(f"batch layout expects shape {wanted}, got {values.shape}")
        rows = values.transpose(2, 1, 0).astype(np.float64)  # (features, tokens, texts)
        if self.kind == "row":
            rows = np.broadcast_to(rows[:, :1], rows.shape)
        elif self.kind == "answer":
            rows = np.where(np.arange(self.tokens)[:, None] == 0, rows, 0.0)
        flat = rows.reshape(self.features, self.slots)
        if self.kind in ("plain", "answer"):
            return list(flat)
        padded = np.concatenate([flat, np.zeros((self.features % 2, self.slots))])
        return [_pair(a, b) for a, b in zip(padded[::2], padded[1::2], strict=True)]

    def reads(self) -> NDArray[np.bool_]:
        """Shape ``(ciphertexts, slots)``: where an ``answer`` holds a logit, each in one slot."""
        first = np.arange(self.slots) < self.texts
        return np.broadcast_to(first, (self.ciphertexts, self.slots))

    def unpack(self, vectors: Sequence[AnyVector]) -> Vector:
        """The array ``(texts, tokens, features)`` that ``vectors`` hold.

        Raises:
            PlanError: another number of vectors.
        """
        if len(vectors) != self.ciphertexts:
            raise PlanError(f"batch layout expects {self.ciphertexts} vectors, got {len(vectors)}")
        flat = np.stack(vectors)
        if self.kind in ("pairs", "row"):
            flat = np.stack([flat.real, flat.imag], axis=1).reshape(-1, self.slots)
        rows = flat.real[: self.features].reshape(self.features, self.tokens, self.texts)
        return np.ascontiguousarray(rows.transpose(2, 1, 0))

    def move_to(self, target: BatchLayout) -> Move:
        """What brings ``pairs`` into ``target``: nothing, or token 0 in every place."""
        return _move(self, target)


@lru_cache(maxsize=16)
def _move(source: BatchLayout, target: BatchLayout) -> Move:
    within = np.arange(source.slots) % (source.texts if target.kind == "row" else source.slots)
    starts = np.arange(source.ciphertexts)[:, None] * source.slots
    return Move(source.ciphertexts, starts + within)


def _pair(real: Vector, imaginary: Vector) -> ComplexVector:
    paired: ComplexVector = real + 1j * imaginary
    return paired
