"""Ciphertext-by-ciphertext products of attention on the skewed layouts.

Both kernels are sums over the T token shifts ``s = a + B * b``. All shifts of one operand
are needed, but only ``B`` of the other: the factor ``rotate(., C * B * b)`` is taken out of
each inner sum and applied to partial sums, which are first relinearised and rescaled
(in this order: rescaling a ciphertext of size 3 costs a hundred times the noise).

The inner sums do not depend on each other, so ranges of ``b`` can be computed apart
(:func:`split_giant_steps`); what both need again is the B baby steps of one operand.

Levels: 1 each. Products are relinearised once for each partial sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from thex_hf.ckks.engine import Handle, ServerEngine
from thex_hf.ckks.packing.geometry import Geometry
from thex_hf.ckks.packing.matmul import rotate_sum

InnerSums = dict[int, Handle]
"""Inner sums by giant step ``b``."""


def split_giant_steps(geometry: Geometry, parts: int) -> list[range]:
    """The giant steps ``b`` in at most ``parts`` ranges of about the same length."""
    count = geometry.tile // geometry.baby_steps
    parts = min(parts, count)
    edges = [count * part // parts for part in range(parts + 1)]
    return [range(low, high) for low, high in pairwise(edges)]


def feature_rotations(engine: ServerEngine, geometry: Geometry, a: Handle) -> list[Handle]:
    """``rotate(a, C * k)`` for the B baby steps ``k``."""
    rotations = [a]
    for _ in range(geometry.baby_steps - 1):
        rotations.append(engine.rotate(rotations[-1], geometry.columns))
    return rotations


def key_rotations(
    engine: ServerEngine, geometry: Geometry, key: Handle, giant_steps: range | None = None
) -> Iterator[tuple[int, int, Handle]]:
    """Yield ``(b, a, rotate(key, (C + 1) * a + B * b))`` for a key block in ``skew-``.

    For all ``b`` or those of ``giant_steps``.
    """
    baby, columns = geometry.baby_steps, geometry.columns
    yield from _rotations(engine, geometry, key, columns + 1, baby, giant_steps)


def value_rotations(
    engine: ServerEngine, geometry: Geometry, value: Handle, giant_steps: range | None = None
) -> Iterator[tuple[int, int, Handle]]:
    """Yield ``(b, a, rotate(value, a + B * b - C * B * b))`` for a value block in ``skew+``.

    For all ``b`` or those of ``giant_steps``.
    """
    baby = geometry.baby_steps
    yield from _rotations(engine, geometry, value, 1, baby - geometry.columns * baby, giant_steps)


def skewed_value_start(engine: ServerEngine, geometry: Geometry, value: Handle) -> Handle:
    """Where :func:`skewed_value_rotations` starts: ``rotate(value, T - B + 1)``."""
    baby = geometry.baby_steps
    return rotate_far(engine, value, 1, geometry.tile // baby - 1, baby)


def skewed_value_rotations(
    engine: ServerEngine, geometry: Geometry, start: Handle, giant_steps: range
) -> Iterator[tuple[int, int, Handle]]:
    """Yield ``(b, a, rotate(value, T - a - B * b - C * B * b))`` for values in ``skew-``.

    ``start`` is from :func:`skewed_value_start`. For weights as :func:`finish_scores` leaves
    them. Both groups must hold the tile; only left turns of tokens are used, so group 0 stays
    whole.
    """
    baby = geometry.baby_steps
    for b in range(giant_steps.stop):
        start = start if b == 0 else engine.rotate(start, -baby - geometry.columns * baby)
        if b not in giant_steps:
            continue
        current = start
        for a in reversed(range(baby)):
            yield b, a, current
            if a:
                current = engine.rotate(current, 1)


def rotate_far(engine: ServerEngine, a: Handle, small: int, count: int, large: int) -> Handle:
    """``rotate(a, small + count * large)`` with keys that other kernels need anyway."""
    out = engine.rotate(a, small)
    for _ in range(count):
        out = engine.rotate(out, large)
    return out


def _rotations(
    engine: ServerEngine,
    geometry: Geometry,
    start: Handle,
    small: int,
    large: int,
    giant_steps: range | None,
) -> Iterator[tuple[int, int, Handle]]:
    giant_steps = giant_steps or range(geometry.tile // geometry.baby_steps)
    for b in range(giant_steps.stop):
        start = start if b == 0 else engine.rotate(start, large)
        if b not in giant_steps:
            continue
        current = start
        for a in range(geometry.baby_steps):
            current = current if a == 0 else engine.rotate(current, small)
            yield b, a, current


def accumulate(
    engine: ServerEngine, partial: InnerSums, b: int, left: Handle, right: Handle
) -> None:
    """Add the product of two handles to inner sum ``b``."""
    product = engine.mul(left, right)
    held = partial.get(b)
    partial[b] = product if held is None else engine.add(held, product)


def relinearise_rescale(engine: ServerEngine, partial: InnerSums) -> list[Handle]:
    """Relinearise and rescale the inner sums, in the order of ``b``."""
    return [engine.rescale(engine.relinearise(inner)) for _, inner in sorted(partial.items())]


def join(engine: ServerEngine, geometry: Geometry, settled: list[Handle]) -> Handle:
    """Join all inner sums, settled and in order, by giant steps."""
    total = settled[-1]
    for inner in reversed(settled[:-1]):
        moved = engine.rotate(total, geometry.columns * geometry.baby_steps)
        total = engine.add(moved, inner)
    return total


def finish(engine: ServerEngine, geometry: Geometry, partial: InnerSums) -> Handle:
    """:func:`relinearise_rescale` and :func:`join`."""
    return join(engine, geometry, relinearise_rescale(engine, partial))


def finish_scores(engine: ServerEngine, geometry: Geometry, partial: InnerSums) -> Handle:
    """:func:`finish`, then :func:`sum_windows`."""
    return sum_windows(engine, geometry, finish(engine, geometry, partial))


def sum_windows(engine: ServerEngine, geometry: Geometry, total: Handle) -> Handle:
    """Add up the F / T windows of T features: whole scores."""
    step = geometry.columns * geometry.tile
    return rotate_sum(engine, total, step, geometry.features // geometry.tile)
