"""Logits to labels with scores, as the stock text-classification pipeline does it; numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thex_hf.bounds import check_logits
from thex_hf.ckks.engine import Vector

SEVERAL, REGRESSION = "multi_label_classification", "regression"


def is_number(kind: str | None, labels: int) -> bool:
    """Whether a model answers a number: one with one label does unless it says otherwise.

    Args:
        kind: ``problem_type`` of its configuration.
        labels: how many it has.
    """
    return kind == REGRESSION or (kind is None and labels == 1)


def scores(logits: Vector, config: Mapping[str, Any]) -> Vector:
    """Softmax; sigmoid of several labels; the number itself where a model answers one.

    Args:
        logits: ``(..., labels)``.
        config: of the model, as JSON values.
    """
    kind = config.get("problem_type")
    if is_number(kind, logits.shape[-1]):
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
