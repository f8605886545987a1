"""Both products of power attention, scores and context, over all pairs of heads and tiles.

Scores come out as ``[i, (i - f) mod T]`` in row ``f``; with values in ``skew-`` the context
kernel reads them as they are, so nothing is permuted between the two. The sums over giant steps do
not depend on each other and can be computed in parallel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial

from thex_hf.circuits.context import Context, Handles
from thex_hf.ckks.packing import attention as kernels


def flat(lists: list[Handles]) -> Handles:
    """All handles of lists of equal length, for a task."""
    return [a for handles in lists for a in handles]


def split(handles: Handles, count: int) -> list[Handles]:
    """The ``count`` lists that :func:`flat` joined."""
    size = len(handles) // count
    return [handles[start : start + size] for start in range(0, len(handles), size)]


def scores(run: Context, queries: list[Handles], skewed: Handles) -> list[Handles]:
    """Scores of each pair, one handle for each query tile and key tile, in group 0.

    Args:
        run: engine and shape.
        queries: for each pair, in ``solo``.
        skewed: what they meet, for all pairs, in ``skew-``.

    Levels: 1.
    """
    tiles = run.shape.stream("dup").tiles
    sums = _in_parts(run, partial(_score_sums, run, queries, skewed), len(queries) * tiles**2)
    whole = [kernels.sum_windows(run.engine, run.shape.geometry, a) for a in sums]
    return [whole[start : start + tiles**2] for start in range(0, len(whole), tiles**2)]


def context(run: Context, weights: list[Handles], starts: list[Handles]) -> Handles:
    """Sum over pairs and keys of weight times value, for each query tile and block.

    Args:
        run: engine and shape.
        weights: for each pair, as :func:`scores` orders them.
        starts: for each pair, values through ``skewed_value_start``.

    Levels: 1.
    """
    layout = run.shape.stream("dup")
    count = layout.tiles * layout.blocks
    return _in_parts(run, partial(_context_sums, run, weights, starts), count)


def _in_parts(run: Context, sums: Callable[[range], Handles], count: int) -> Handles:
    """``count`` sums over all giant steps; ``sums`` gives their terms for some of the steps."""
    engine, geometry = run.engine, run.shape.geometry
    ranges = kernels.split_giant_steps(geometry, run.runner.processes)
    parts = run.in_parallel(*(partial(sums, giant_steps) for giant_steps in ranges))
    out = []
    for index in range(count):
        settled: Handles = []
        for giant_steps, part in zip(ranges, parts, strict=True):
            settled += part[index * len(giant_steps) : (index + 1) * len(giant_steps)]
        out.append(kernels.join(engine, geometry, settled))
    return out


def _score_sums(
    run: Context, queries: list[Handles], skewed: Handles, giant_steps: range
) -> Handles:
    engine, geometry, layout = run.engine, run.shape.geometry, run.shape.stream("dup")
    tiles, blocks = layout.tiles, layout.blocks
    rotated = [[kernels.feature_rotations(engine, geometry, a) for a in query] for query in queries]
    sums: dict[tuple[int, int, int], kernels.InnerSums] = defaultdict(dict)
    for index, key in enumerate(skewed):
        k, block = divmod(index, blocks)
        for b, a, rotated_key in kernels.key_rotations(engine, geometry, key, giant_steps):
            for pair, rotations in enumerate(rotated):
                for q in range(tiles):
                    left = rotations[q * blocks + block][a]
                    kernels.accumulate(engine, sums[pair, q, k], b, left, rotated_key)
    return [
        a for _, inner in sorted(sums.items()) for a in kernels.relinearise_rescale(engine, inner)
    ]


def _context_sums(
    run: Context, weights: list[Handles], starts: list[Handles], giant_steps: range
) -> Handles:
    engine, geometry, layout = run.engine, run.shape.geometry, run.shape.stream("dup")
    tiles, blocks = layout.tiles, layout.blocks
    sums: dict[tuple[int, int], kernels.InnerSums] = defaultdict(dict)
    for pair, start in zip(weights, starts, strict=True):
        for k in range(tiles):
            rotated = [
                kernels.feature_rotations(engine, geometry, pair[q * tiles + k])
                for q in range(tiles)
            ]
            for block in range(blocks):
                value = start[k * blocks + block]
                for b, a, rotated_value in kernels.skewed_value_rotations(
                    engine, geometry, value, giant_steps
                ):
                    for q in range(tiles):
                        kernels.accumulate(engine, sums[q, block], b, rotated[q][a], rotated_value)
    return [
        a for _, inner in sorted(sums.items()) for a in kernels.relinearise_rescale(engine, inner)
    ]
