"""From looked-up rows to the embeddings that a client encrypts; the same numbers for all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def embed_rows(
    words: NDArray[Any],
    segments: NDArray[Any],
    positions: NDArray[Any],
    norm: tuple[NDArray[Any], NDArray[Any], float],
    project: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Array:
    """Add up rows of the three tables, norm them and perhaps project them, in float64.

    Args:
        words: ``(n, e)``, of the tokens.
        segments: ``(n, e)``, of their segments.
        positions: ``(n, e)``, of their places.
        norm: weight ``(e,)``, bias ``(e,)`` and epsilon.
        project: weight ``(d, e)`` and bias ``(d,)`` of the map to the hidden size.

    Returns:
        ``(n, d)``.
    """
    total = _wide(words) + _wide(segments) + _wide(positions)
    centred = total - total.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + norm[2])
    out: Array = centred / deviation * _wide(norm[0]) + _wide(norm[1])
    if project is not None:
        out = out @ _wide(project[0]).T + _wide(project[1])
    return out


def _wide(values: NDArray[Any]) -> Array:
    return np.ascontiguousarray(values, dtype=np.float64)
