"""How much of what is bounded one owner may hold: never more than is left for the others."""

from __future__ import annotations

ANYONE = "anyone"
"""Owner of keys where nobody says who they are: stands for many, and so may hold all."""


def spent(owner: str, own: int, taken: int, most: int) -> bool:
    """Whether an owner may hold no more places.

    One owner gets half of the places at most, two a third each, and so on: as many as are free. So
    whoever holds none finds one, however much others ask for: three of them, if there are 8 places.

    Args:
        owner: who asks; :data:`ANYONE` may hold all.
        own: places that the owner holds.
        taken: places that all hold, the owner's among them.
        most: places there are.
    """
    free = most - taken
    return free <= 0 or (owner != ANYONE and own >= free)
