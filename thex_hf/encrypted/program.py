"""A circuit as the roles see it: a generator over an engine, whatever the protocol."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol, TypeAlias

from thex_hf.encrypted.context import Handles
from thex_hf.layout.engines import ServerEngine
from thex_hf.layout.plains import PlainStore

Reply: TypeAlias = list[list[Handles]]
Steps: TypeAlias = Generator[list[Handles], Reply, Handles]
"""Yields, at each visit, the handles of its parts; is sent, for each part, the handles of each
returned packing; returns the handles of the answer."""


class Program(Protocol):
    """A circuit with its weights, ready for any engine of its parameters."""

    def __call__(self, engine: ServerEngine, store: PlainStore, request: list[Handles]) -> Steps:
        """Start on a request; ``store`` keeps encoded weights between runs."""
        ...
