"""Sums of handles times numbers, made of the plain verbs: for engines that have no shortcut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thex_hf.layout import rules
from thex_hf.layout.engines import AnyVector, Handle, ServerEngine


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
        total: Handle | None = None
        for i in used:
            factor = engine.encode(np.full(engine.slots, row[i]), level, factor=True)
            product = engine.mul_plain(handles[i], factor)
            total = product if total is None else engine.add(total, product)
        result = engine.rescale(total)
        if own:
            shift = engine.encode(np.full(engine.slots, own), level - 1, factor=False)
            result = engine.add_plain(result, shift)
        out.append(result)
    return out
