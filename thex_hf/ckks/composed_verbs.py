"""Verbs of a server engine made of its other verbs, for engines that have nothing faster."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, Handle, Plaintext, ServerEngine


def dot_by_products(
    engine: ServerEngine, handles: Sequence[Handle], plains: Sequence[Plaintext]
) -> Handle:
    """What :meth:`~thex_hf.ckks.engine.ServerEngine.dot_plain` promises.

    Raises:
        PlanError: numbers, levels or degrees do not fit.
    """
    rules.check_dot(handles, plains)
    products = (engine.mul_plain(a, p) for a, p in zip(handles, plains, strict=True))
    return functools.reduce(engine.add, products)


def combine_by_products(
    engine: ServerEngine, handles: Sequence[Handle], weights: AnyVector, bias: AnyVector
) -> list[Handle]:
    """What :meth:`~thex_hf.ckks.engine.ServerEngine.combine` promises. Levels: 1.

    Raises:
        PlanError: shapes or levels do not fit.
    """
    level = rules.check_combine(handles, weights, bias)
    out = []
    for row, number in zip(weights, bias, strict=True):
        used = np.flatnonzero(row).tolist() or [0]
        factors = [engine.encode(np.full(engine.slots, row[i]), level, factor=True) for i in used]
        result = engine.rescale(engine.dot_plain([handles[i] for i in used], factors))
        if number:
            shift = engine.encode(np.full(engine.slots, number), level - 1, factor=False)
            result = engine.add_plain(result, shift)
        out.append(result)
    return out
