"""Backends by name: an entry-point group, loaded only when one is asked for."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from thex_hf.backends.base import SlotBackend
from thex_hf.errors import BackendUnavailable

GROUP = "thex_hf.backends"
# so that a source tree works before it is installed
BUILT_IN = {
    "clear": "thex_hf.backends.clear.backend:BACKEND",
    "concrete": "thex_hf.concrete.backend:BACKEND",
    "seal": "thex_hf.backends.seal.backend:BACKEND",
}


def _targets() -> dict[str, str]:
    """Every name on offer and the ``module:attribute`` behind it; built-in names win."""
    return {entry.name: entry.value for entry in entry_points(group=GROUP)} | BUILT_IN


def list_backends() -> list[str]:
    """Names on offer, sorted. Says nothing about whether their libraries are installed."""
    return sorted(_targets())


def get_backend(name: str) -> SlotBackend:
    """The slot backend called ``name``. Loads its module, not yet its library.

    Raises:
        BackendUnavailable: no such name, its module cannot be loaded, or it is no slot backend.
    """
    backend = find_backend(name)
    if not hasattr(backend, "generate"):
        raise BackendUnavailable(
            f"backend {name!r} compiles whole circuits and has no slots, which this needs; use "
            f"backend 'seal'"
        )
    return cast(SlotBackend, backend)


def find_backend(name: str) -> Any:
    """The backend called ``name``, of either kind.

    Returns:
        A ``SlotBackend``, or a ``CircuitBackend`` of ``thex_hf.protocol.engines``.

    Raises:
        BackendUnavailable: no such name, or its module cannot be loaded.
    """
    targets = _targets()
    if name not in targets:
        near = difflib.get_close_matches(name, targets, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BackendUnavailable(f"unknown backend {name!r}; on offer: {sorted(targets)}{hint}")
    module, _, attribute = targets[name].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:
        raise BackendUnavailable(
            f"backend {name!r} ({targets[name]}) cannot be loaded: {error}; "
            f"reinstall the package that provides it"
        ) from error
