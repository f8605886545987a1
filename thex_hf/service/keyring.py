"""The engines of clients' keys in a server's memory: as many as fit, the last used stay."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from thex_hf.layout.engines import ServerEngine


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
class Keyring:
    """Engines by name.

    Args:
        most_bytes: of all key files whose engines are kept; the last one put always stays.
    """

    most_bytes: int = 1 << 30
    _held: OrderedDict[KeysName, HeldKeys] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def put(self, name: KeysName, keys: HeldKeys) -> None:
        """Keep keys, and forget the ones longest unused that no longer fit."""
        self._held[name] = keys
        self._held.move_to_end(name)
        while len(self._held) > 1 and self._bytes() > self.most_bytes:
            self._held.popitem(last=False)

    def get(self, name: KeysName) -> HeldKeys | None:
        """Keys, which count as used now; None if they are not here."""
        held = self._held.get(name)
        if held is not None:
            self._held.move_to_end(name)
        return held

    def drop(self, name: KeysName) -> bool:
        """Forget keys; whether they were here."""
        return self._held.pop(name, None) is not None

    def _bytes(self) -> int:
        return sum(keys.size for keys in self._held.values())
