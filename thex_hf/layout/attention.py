"""Ciphertext-by-ciphertext products of attention on the skewed layouts.

Both kernels are sums over the T token shifts ``s = a + B * b``. All shifts of one operand
are needed, but only ``B`` of the other: the factor ``rotate(., C * B * b)`` is taken out of
each inner sum and applied to partial sums, which are first relinearised and rescaled
(in this order: rescaling a ciphertext of size 3 costs a hundred times the noise).

Levels: 1 each. Products are relinearised once for each partial sum.
"""

from __future__ import annotations

from collections.abc import Iterator

from thex_hf.layout.engines import Handle, ServerEngine
from thex_hf.layout.geometry import Geometry
from thex_hf.layout.sums import rotate_sum

Partial = list[Handle | None]


def feature_turns(engine: ServerEngine, geometry: Geometry, a: Handle) -> list[Handle]:
    """``rotate(a, C * k)`` for the B baby steps ``k``."""
    turns = [a]
    for _ in range(geometry.baby_steps - 1):
        turns.append(engine.rotate(turns[-1], geometry.columns))
    return turns


def key_turns(
    engine: ServerEngine, geometry: Geometry, key: Handle
) -> Iterator[tuple[int, int, Handle]]:
    """Yield ``(b, a, rotate(key, (C + 1) * a + B * b))`` for a key block in ``skew-``."""
    yield from _turns(engine, geometry, key, geometry.columns + 1, geometry.baby_steps)


def value_turns(
    engine: ServerEngine, geometry: Geometry, value: Handle
) -> Iterator[tuple[int, int, Handle]]:
    """Yield ``(b, a, rotate(value, a + B * b - C * B * b))`` for a value block in ``skew+``."""
    baby = geometry.baby_steps
    yield from _turns(engine, geometry, value, 1, baby - geometry.columns * baby)


def _turns(
    engine: ServerEngine, geometry: Geometry, start: Handle, small: int, large: int
) -> Iterator[tuple[int, int, Handle]]:
    for b in range(geometry.tile // geometry.baby_steps):
        start = start if b == 0 else engine.rotate(start, large)
        current = start
        for a in range(geometry.baby_steps):
            current = current if a == 0 else engine.rotate(current, small)
            yield b, a, current


def new_partial(geometry: Geometry) -> Partial:
    """Empty inner sums, one for each giant step."""
    return [None] * (geometry.tile // geometry.baby_steps)


def accumulate(engine: ServerEngine, partial: Partial, b: int, left: Handle, right: Handle) -> None:
    """Add the product of two handles to inner sum ``b``."""
    product = engine.mul(left, right)
    held = partial[b]
    partial[b] = product if held is None else engine.add(held, product)


def finish(engine: ServerEngine, geometry: Geometry, partial: Partial) -> Handle:
    """Relinearise and rescale the inner sums, and join them by giant steps."""
    total: Handle | None = None
    for inner in reversed(partial):
        if total is not None:
            total = engine.rotate(total, geometry.columns * geometry.baby_steps)
        settled = engine.rescale(engine.relinearise(inner))
        total = settled if total is None else engine.add(total, settled)
    return total


def finish_scores(engine: ServerEngine, geometry: Geometry, partial: Partial) -> Handle:
    """:func:`finish`, then add up the F / T windows of T features: whole scores."""
    total = finish(engine, geometry, partial)
    step = geometry.columns * geometry.tile
    return rotate_sum(engine, total, step, geometry.features // geometry.tile)
