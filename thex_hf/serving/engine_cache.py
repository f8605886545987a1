"""The engines of clients' keys in a server's memory: as many as fit, the last used stay."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from thex_hf.ckks.engine import ServerEngine


class KeysName(NamedTuple):
    """Whose keys: the owner, and the SHA-256 of the key file."""

    owner: str
    name: str


@dataclass(frozen=True)
class HeldKeys:
    """An engine that computes under one client's keys.

    Args:
        engine: made from them.
        key_id: as messages name it.
        key_set: what plans they serve.
        size: bytes of the key file.
    """

    engine: ServerEngine = field(repr=False)
    key_id: str
    key_set: str
    size: int


@dataclass
class _Kept:
    keys: HeldKeys
    used: float


@dataclass
class Keyring:
    """Engines by name.

    Args:
        most_bytes: of all key files whose engines are kept; the last one put always stays.
        seconds: unused, after which an engine goes; seen to whenever the ring is used.
        clock: seconds that never go back.
    """

    most_bytes: float = 1 << 30
    seconds: float = math.inf
    clock: Callable[[], float] = time.monotonic
    _kept: OrderedDict[KeysName, _Kept] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        self._drop_old()
        return len(self._kept)

    def __contains__(self, name: object) -> bool:
        self._drop_old()
        return name in self._kept

    def put(self, name: KeysName, keys: HeldKeys) -> None:
        """Keep keys, and forget the ones longest unused that no longer fit."""
        self._kept[name] = _Kept(keys, self.clock())
        self._kept.move_to_end(name)
        self._drop_old()
        while len(self._kept) > 1 and self._bytes() > self.most_bytes:
            self._kept.popitem(last=False)

    def get(self, name: KeysName) -> HeldKeys | None:
        """Keys, which count as used now; None if they are not here."""
        self._drop_old()
        kept = self._kept.get(name)
        if kept is None:
            return None
        kept.used = self.clock()
        self._kept.move_to_end(name)
        return kept.keys

    def drop(self, name: KeysName) -> bool:
        """Forget keys; whether they were here."""
        return self._kept.pop(name, None) is not None

    def _bytes(self) -> int:
        return sum(kept.keys.size for kept in self._kept.values())

    def _drop_old(self) -> None:
        end = self.clock() - self.seconds
        while self._kept and next(iter(self._kept.values())).used < end:
            self._kept.popitem(last=False)
