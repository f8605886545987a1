"""The engines of clients' keys in a server's memory: as many as fit, the last used stay."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class KeysName(NamedTuple):
    """Whose keys: the owner, and the SHA-256 of the key file."""

    owner: str
    name: str


@dataclass(frozen=True)
class CachedEngine:
    """An engine that computes under one client's keys.

    Args:
        engine: made from them: a :class:`~thex_hf.ckks.engine.ServerEngine`, or for protocol
            ``prepared`` a :class:`~thex_hf.prepared.bfv.server.BfvServer`.
        key_id: as messages name it.
        key_set: what plans they serve.
        size: bytes of the key file.
    """

    engine: Any = field(repr=False)
    key_id: str
    key_set: str
    size: int


@dataclass
class _Entry:
    engine: CachedEngine
    used: float


@dataclass
class EngineCache:
    """Engines by owner and key file.

    Args:
        most_bytes: of all key files whose engines are kept; the last one put always stays.
        seconds: unused, after which an engine goes; seen to whenever the cache is used.
        clock: seconds that never go back.
    """

    most_bytes: float = 1 << 30
    seconds: float = math.inf
    clock: Callable[[], float] = time.monotonic
    _entries: OrderedDict[KeysName, _Entry] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        self._expire()
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        self._expire()
        return name in self._entries

    def put(self, name: KeysName, engine: CachedEngine) -> None:
        """Keep an engine, and forget the ones longest unused that no longer fit."""
        self._entries[name] = _Entry(engine, self.clock())
        self._entries.move_to_end(name)
        self._expire()
        while len(self._entries) > 1 and self._bytes() > self.most_bytes:
            self._entries.popitem(last=False)

    def get(self, name: KeysName) -> CachedEngine | None:
        """An engine, which counts as used now; None if it is not here."""
        self._expire()
        entry = self._entries.get(name)
        if entry is None:
            return None
        entry.used = self.clock()
        self._entries.move_to_end(name)
        return entry.engine

    def drop(self, name: KeysName) -> bool:
        """Forget an engine; whether it was here."""
        return self._entries.pop(name, None) is not None

    def _bytes(self) -> int:
        return sum(entry.engine.size for entry in self._entries.values())

    def _expire(self) -> None:
        end = self.clock() - self.seconds
        while self._entries and next(iter(self._entries.values())).used < end:
            self._entries.popitem(last=False)
