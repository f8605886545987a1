"""Real-linear maps from the slots of some ciphertexts to those of others: copies, and zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from thex_hf.errors import PlanError

Places: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.float64] | NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Move:
    """How slots of ciphertexts that were decrypted are laid out in those encrypted afresh.

    Args:
        sources: ciphertexts that are read.
        places: shape ``(targets, slots)``; which slot each takes, counted through all sources
            one after the other, or -1 for zero.
        factor: a power of two that every slot is multiplied by.
        real: imaginary parts are dropped.

    Raises:
        PlanError: places beyond the sources, or a factor that is no power of two.
    """

    sources: int
    places: Places
    factor: float = 1.0
    real: bool = False

    def __post_init__(self) -> None:
        within = (self.places >= -1) & (self.places < self.sources * self.slots)
        if not (within.all() and np.frexp(self.factor)[0] == 0.5):
            raise PlanError(
                f"a move takes slots 0 to {self.sources * self.slots - 1} or -1 and a power of "
                f"two, got {self.places.min()} to {self.places.max()} and {self.factor}"
            )

    @property
    def targets(self) -> int:
        """Ciphertexts that are written."""
        return len(self.places)

    @property
    def slots(self) -> int:
        """Slots in a ciphertext."""
        return int(self.places.shape[1])

    @cached_property
    def still(self) -> bool:
        """Whether every ciphertext stays as it is."""
        places = np.arange(self.sources * self.slots)
        same = self.places.size == places.size and bool((self.places.ravel() == places).all())
        return same and self.factor == 1.0 and not self.real

    def apply(self, vectors: Sequence[Numbers]) -> list[Numbers]:
        """The slots of the targets, given those of the sources, ``(slots,)`` each."""
        flat = np.append(np.concatenate(vectors), 0.0)
        every: Numbers = (flat.real if self.real else flat) * self.factor
        return list(every[self.places])
