"""Sums of products, made of the plain verbs: for engines that have no shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from thex_hf.layout import rules
from thex_hf.layout.engines import AnyVector, Handle, Plain, ServerEngine


def dot_by_products(
    engine: ServerEngine, handles: Sequence[Handle], plains: Sequence[Plain]
) -> Handle:
    """What :meth:`~thex_hf.layout.engines.ServerEngine.dot_plain` promises.

    Raises:
        PlanError: numbers, levels or degrees do not fit.
    """
    rules.check_dot(handles, plains)
    products = (engine.mul_plain(a, p) for a, p in zip(handles, plains, strict=True))
    return reduce(engine.add, products)


def combine_by_products(
    engine: ServerEngine, handles: Sequence[Handle], weights: AnyVector, bias: AnyVector
) -> list[Handle]:
    """What :meth:`~thex_hf.layout.engines.ServerEngine.combine` promises. Levels: 1.

    Raises:
        PlanError: shapes or levels do not fit.
    """
    level = rules.check_combine(handles, weights, bias)
    out = []
    for row, own in zip(weights, bias, strict=True):
        used = np.flatnonzero(row).tolist() or [0]
        factors = [engine.encode(np.full(engine.slots, row[i]), level, factor=True) for i in used]
        result = engine.rescale(engine.dot_plain([handles[i] for i in used], factors))
        if own:
            shift = engine.encode(np.full(engine.slots, own), level - 1, factor=False)
            result = engine.add_plain(result, shift)
        out.append(result)
    return out
