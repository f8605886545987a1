"""Encoded plaintexts, kept so that a weight is encoded once for a server's life."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from thex_hf.ckks.engine import AnyVector, Plaintext, ServerEngine


class PlaintextCache:
    """Plaintexts by name and level.

    Encoding depends on the parameters only, never on keys, so one cache serves every
    client whose parameters and geometry are the same.
    """

    def __init__(self) -> None:
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
        """The plaintext of ``vector`` under ``key``, encoded on first use."""
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
        full = (key, level, factor)
        if full in self._plains:
            return self._plains[full]
        vector = make()
        plain = None if vector is None else engine.encode(vector, level, factor=factor)
        self._plains[full] = plain
        return plain
