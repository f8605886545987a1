"""How a ciphertext's slots are divided: features x groups x tokens.

Slot ``f * columns + g * tile + i`` holds feature ``f``, group ``g``, token ``i`` of the
tile. A rotation by ``columns`` moves every feature by one, cyclically over the whole
ciphertext. A rotation by ``k < tile`` moves tokens by ``k``; when both groups hold the
same tokens, group 0 sees a cyclic shift (group 1 is spoiled). Hence always two groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from thex_hf.errors import PlanError

GROUPS = 2


@dataclass(frozen=True)
class Geometry:
    """Division of ``slots`` into ``features`` rows of ``2 * tile`` columns.

    Args:
        slots: real slots in a ciphertext, a power of two.
        tile: tokens handled together (T); longer texts use several tiles.
        most_baby_steps: a power of two; 0: no other bound than :attr:`baby_steps` states.

    Raises:
        PlanError: ``tile`` does not fit (it must divide ``features``).
    """

    slots: int
    tile: int
    most_baby_steps: int = 0

    def __post_init__(self) -> None:
        if self.slots % (GROUPS * self.tile) or self.features % self.tile:
            raise PlanError(
                f"a tile of {self.tile} tokens does not fit {self.slots} slots: two groups "
                f"of {self.tile} columns must leave a multiple of {self.tile} features"
            )

    @property
    def columns(self) -> int:
        """Columns C = 2T of one feature row."""
        return GROUPS * self.tile

    @property
    def features(self) -> int:
        """Feature rows F in one ciphertext."""
        return self.slots // self.columns

    @property
    def baby_steps(self) -> int:
        """Rotations done one by one before a giant step; divides ``tile``."""
        root = 1 << ((self.features.bit_length()) // 2)
        return min(root, self.tile, self.most_baby_steps or root)

    def tiles(self, tokens: int) -> int:
        """Tiles that ``tokens`` tokens need."""
        return -(-tokens // self.tile)

    def blocks(self, features: int) -> int:
        """Feature blocks of F rows that ``features`` features need."""
        return -(-features // self.features)

    @classmethod
    def fit(cls, slots: int, tokens: int) -> Geometry:
        """The largest power-of-two tile that fits, not larger than ``tokens``.

        Raises:
            PlanError: even a tile of two tokens does not fit.
        """
        tile = 1
        while 2 * tile <= tokens and GROUPS * (2 * tile) ** 2 <= slots:
            tile *= 2
        if tile < 2:
            raise PlanError(f"{slots} slots are too few for {tokens} tokens; use a larger ring")
        return cls(slots, tile)
