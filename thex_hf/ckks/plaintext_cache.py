"""Encoded plaintexts, kept so that a weight is encoded once for a server's life, within a bound.

A circuit reads its weights in the same order for every text. A cache that drops what was used
longest ago would, when it cannot hold them all, drop each one just before it is needed again. So
what has been kept stays, and what does not fit is encoded anew each time and dropped: of a scan
that repeats, no policy saves more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable

from thex_hf.ckks.engine import AnyVector, Plaintext, ServerEngine


class MemoryBound:
    """How many bytes of plaintexts may be kept, by all caches that share the bound.

    A process that is forked from one which holds plaintexts shares these, and keeps no more: the
    bound is for all of them together.

    Args:
        most: bytes; no bound by default.

    Attributes:
        held: bytes that are kept.
    """

    def __init__(self, most: float = math.inf) -> None:
        self.most = most
        self.held = 0
        self._full = False
        self._process = os.getpid()

    @property
    def full(self) -> bool:
        """Whether nothing more is kept: something did not fit, or another process holds all."""
        return self._full or (self.held > 0 and self._process != os.getpid())

    def admit(self, size: int) -> bool:
        """Take ``size`` bytes of the bound if they fit. From the first that does not it is full."""
        if self.full:
            return False
        if self.held + size > self.most:
            self._full = True
            return False
        self._process = os.getpid()
        self.held += size
        return True


class PlaintextCache:
    """Plaintexts by name and level.

    Encoding depends on the parameters only, never on keys, so one cache serves every
    client whose parameters and geometry are the same.

    Args:
        bound: of the bytes that are kept; none by default.

    Attributes:
        kept: plaintexts that are kept here.
        dropped: how many times one was encoded and not kept.
        held_bytes: of those that are kept.
        dropped_bytes: of those that were not.
    """

    def __init__(self, bound: MemoryBound | None = None) -> None:
        self.bound = MemoryBound() if bound is None else bound
        self.kept = self.dropped = 0
        self.held_bytes = self.dropped_bytes = 0
        self._plains: dict[Hashable, Plaintext | None] = {}

    def __len__(self) -> int:
        return len(self._plains)

    def get(
        self,
        engine: ServerEngine,
        key: Hashable,
        level: int,
        vector: AnyVector,
        *,
        factor: bool = True,
    ) -> Plaintext:
        """The plaintext of ``vector`` under ``key``, encoded if it is not kept."""
        plain = self.get_or_skip(engine, key, level, lambda: vector, factor=factor)
        assert plain is not None
        return plain

    def get_or_skip(
        self,
        engine: ServerEngine,
        key: Hashable,
        level: int,
        make: Callable[[], AnyVector | None],
        *,
        factor: bool = True,
    ) -> Plaintext | None:
        """As :meth:`get`, from a function that returns None where nothing is to be done."""
        name = (key, level, factor)
        if name in self._plains:
            return self._plains[name]
        vector = make()
        if vector is None:
            self._plains[name] = None
            return None
        plain = engine.encode(vector, level, factor=factor)
        size = plaintext_size(engine, plain, level)
        if self.bound.admit(size):
            self._plains[name] = plain
            self.kept += 1
            self.held_bytes += size
        else:
            self.dropped += 1
            self.dropped_bytes += size
        return plain


def plaintext_size(engine: ServerEngine, plain: Plaintext, level: int) -> int:
    """Bytes of a plaintext: what it says itself (``nbytes``), or 8 for each residue."""
    said: int | None = getattr(plain, "nbytes", None)
    return 16 * engine.slots * (level + 1) if said is None else said
