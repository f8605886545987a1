"""Logits to labels with scores, as the stock text-classification pipeline does it; numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thex_hf.bounds import check_logits
from thex_hf.ckks.engine import Vector

SEVERAL, REGRESSION = "multi_label_classification", "regression"


def scores(logits: Vector, config: Mapping[str, Any]) -> Vector:
    """Softmax; sigmoid of several labels; the number itself of a regression.

    A model with one label is a regression unless it says otherwise.

    Args:
        logits: ``(..., labels)``.
        config: of the model, as JSON values.
    """
    kind = config.get("problem_type")
    if kind == REGRESSION or (kind is None and logits.shape[-1] == 1):
        return logits
    if kind == SEVERAL or logits.shape[-1] == 1:
        out: Vector = 1.0 / (1.0 + np.exp(-logits))
        return out
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: Vector = powers / powers.sum(-1, keepdims=True)
    return shares


def best(logits: Vector, config: Mapping[str, Any]) -> dict[str, Any]:
    """The best label with its score; of a classifier of tokens a list, one for each token.

    Raises:
        RangeError: the logits are larger than the model's calibration allows.
    """
    check_logits(logits, config.get("calibration"))
    values, names = scores(logits, config), config.get("id2label") or {}
    rows = [values] if values.ndim == 1 else list(values)
    labelled = [
        {"label": names.get(str(int(row.argmax())), f"LABEL_{row.argmax()}"), "score": row.max()}
        for row in rows
    ]
    labelled = [{**one, "score": float(one["score"])} for one in labelled]
    return labelled[0] if values.ndim == 1 else {"tokens": labelled}
