"""How far encrypted answers are from those of the clear model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thex_hf.errors import InputError
from thex_hf.evaluation.base import MULTILABEL, OfflineMetric, datasets, describe


class Agreement(OfflineMetric):
    """Share of texts with the same answer as in clear, and the largest difference of a logit.

    Predictions are the encrypted logits, references the clear ones, for each text a list of
    one number a label. The answer has ``max_logit_difference``, and ``agreement`` where there
    are several labels: with ``multilabel`` a text counts if exactly the same logits are
    positive, else if the largest one is the same.

    Raises:
        InputError: at :meth:`compute`, the two sides have different numbers of labels.
    """

    def _info(self) -> Any:
        return describe(
            "Agreement of two models' logits.", datasets.Sequence(datasets.Value("float64"))
        )

    def _compute(
        self, predictions: Sequence[Sequence[float]], references: Sequence[Sequence[float]]
    ) -> dict[str, float]:
        widths = {len(row) for row in (*predictions, *references)}
        if len(widths) != 1:
            raise InputError(
                f"expected equally many logits for every text on both sides, got {sorted(widths)}"
            )
        own, clear = np.asarray(predictions), np.asarray(references)
        largest = {"max_logit_difference": float(np.abs(own - clear).max())}
        if self.config_name == MULTILABEL:
            same = ((own > 0) == (clear > 0)).all(axis=-1)
        elif own.shape[-1] > 1:
            same = own.argmax(axis=-1) == clear.argmax(axis=-1)
        else:
            return largest
        return {"agreement": float(same.mean()), **largest}
