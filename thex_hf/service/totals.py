"""What a folder of key files holds in all, kept in one small file instead of counted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "totals"


@dataclass
class Totals:
    """Files and bytes of each owner, and the shelf's clock.

    Args:
        clock: the shelf's own seconds; begins at some time since 1970 and stops with the servers.
        swept: when it was last moved on, by the wall clock.
        owners: files and bytes by owner, hashed.
    """

    clock: float
    swept: float
    owners: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for _, size in self.owners.values())

    def of(self, owner: str) -> tuple[int, int]:
        """Files and bytes of one owner."""
        return self.owners.get(owner, (0, 0))

    def add(self, owner: str, files: int, size: int) -> None:
        """Count files, or with numbers below zero no longer count them."""
        held = self.of(owner)
        self.owners[owner] = (max(0, held[0] + files), max(0, held[1] + size))
        if self.owners[owner] == (0, 0):
            del self.owners[owner]

    def count(self, entries: Iterable[tuple[str, int]]) -> None:
        """Count everything anew, of owners and sizes."""
        self.owners.clear()
        for owner, size in entries:
            self.add(owner, 1, size)

    def to_bytes(self) -> bytes:
        """The file."""
        return json.dumps(vars(self)).encode()

    @classmethod
    def read(cls, folder: Path) -> Totals | None:
        """What the file of a folder says; None if it says nothing.

        Raises:
            OSError: it is there and cannot be read.
        """
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            facts: dict[str, Any] = json.loads((folder / FILE).read_bytes())
            owners = {str(name): (int(a), int(b)) for name, (a, b) in facts["owners"].items()}
            return cls(float(facts["clock"]), float(facts["swept"]), owners)
        return None
