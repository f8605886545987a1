"""Compare the answer of a circuit with that of the clear model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thex_hf.ckks.engine import Vector
from thex_hf.pipelines.report import Agreement

SEVERAL = "multi_label_classification"


def compare(
    clear: Vector, own: Vector, config: Any, special: Sequence[int] | None = None
) -> Agreement:
    """Tell whether two answers name the same labels, and how far their logits are apart.

    Args:
        clear: logits ``(labels,)`` of the clear model, or ``(n, labels)`` if it classifies tokens.
        own: the circuit's, of the same shape.
        config: the model's configuration.
        special: of each token, 1 for those that are no part of the text; None: there are none.
    """
    names: Mapping[int, str] = config.id2label
    difference = float(np.abs(clear - own).max())
    if clear.ndim == 2:
        real = np.ones(len(clear), bool) if special is None else np.asarray(special) == 0
        best, mine = clear[real].argmax(-1), own[real].argmax(-1)
        share = float((best == mine).mean()) if len(best) else 1.0
        label = " ".join(str(names[int(i)]) for i in best)
        return Agreement(label, share == 1.0, difference, share)
    if config.problem_type == SEVERAL:
        wanted = np.flatnonzero(clear > 0)
        label = ", ".join(str(names[int(i)]) for i in wanted)
        return Agreement(label, bool(((clear > 0) == (own > 0)).all()), difference)
    best_label, own_label = int(clear.argmax()), int(own.argmax())
    return Agreement(str(names[best_label]), best_label == own_label, difference)
