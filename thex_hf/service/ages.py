"""How long keys were unused, by clocks that may jump."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Ages:
    """Counts the seconds that servers have lived through, for a shelf that they share.

    A wall clock that jumps forth would make all keys old at once; one that jumps back would keep
    them for ever. So a shelf has a clock of its own, which a server moves on at each sweep: by the
    seconds that passed for that server, which no jump changes, and not by those that another server
    has counted already.

    Args:
        wall: seconds since 1970, which all servers of a shelf have about in common.
        steady: seconds that never go back, this process's own.
    """

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    _last: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin to count."""
        self._last = self.steady()

    def passed(self, swept: float) -> float:
        """Seconds to move the shelf's clock on by.

        Args:
            swept: when the last server did so, by the wall clock.
        """
        now = self.steady()
        own, self._last = now - self._last, now
        return max(0.0, min(own, self.wall() - swept))
