"""Sums over slots by repeated rotation with keys that other kernels need anyway.

Levels: 0.
"""

from __future__ import annotations

from thex_hf.layout.engines import Handle, ServerEngine
from thex_hf.layout.geometry import Geometry


def rotate_sum(engine: ServerEngine, a: Handle, step: int, count: int) -> Handle:
    """``sum over k < count of rotate(a, k * step)`` with one rotation key (Horner)."""
    total = a
    for _ in range(count - 1):
        total = engine.add(engine.rotate(total, step), a)
    return total


def sum_features(engine: ServerEngine, geometry: Geometry, a: Handle) -> Handle:
    """Sum over all F feature rows; every row then holds the sum."""
    baby = geometry.baby_steps
    part = rotate_sum(engine, a, geometry.columns, baby)
    return rotate_sum(engine, part, geometry.columns * baby, geometry.features // baby)


def sum_columns(engine: ServerEngine, geometry: Geometry, a: Handle, count: int) -> Handle:
    """Sum over windows of ``count`` columns (a power of two), rightwards.

    With columns that repeat with period ``count``, every column of group 0 then holds the
    whole sum; the last columns of group 1 are spoiled.
    """
    baby = min(geometry.baby_steps, count)
    part = rotate_sum(engine, a, 1, baby)
    return rotate_sum(engine, part, baby, count // baby)


def fill_groups(engine: ServerEngine, geometry: Geometry, a: Handle) -> Handle:
    """Copy group 0 into group 1, which must be zero."""
    return engine.add(a, engine.rotate(a, -geometry.tile))


def fold_groups(engine: ServerEngine, geometry: Geometry, a: Handle) -> Handle:
    """Add group 1 to group 0 (group 1 is spoiled afterwards)."""
    return engine.add(a, engine.rotate(a, geometry.tile))
