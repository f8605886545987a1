"""Metrics for regression: Pearson and Spearman correlation, computed by scipy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from thex_hf.errors import InputError
from thex_hf.evaluation.base import OfflineMetric, describe, logger
from thex_hf.evaluation.libraries import datasets, statistics


class Pearson(OfflineMetric):
    """Pearson correlation, -1 to 1: how close to a line; NaN if one side is constant.

    ``compute`` takes ``return_pvalue``.
    """

    takes = ("return_pvalue",)

    def _info(self) -> Any:
        return describe("Pearson correlation coefficient.", datasets.Value("float64"))

    def _compute(
        self, predictions: list[float], references: list[float], return_pvalue: bool = False
    ) -> dict[str, float]:
        value, chance = _correlation(statistics.pearsonr, predictions, references)
        return {"pearsonr": value} | ({"p-value": chance} if return_pvalue else {})


class Spearman(OfflineMetric):
    """Spearman correlation, -1 to 1: how well the order fits; NaN if one side is constant.

    ``compute`` takes ``return_pvalue``.
    """

    takes = ("return_pvalue",)

    def _info(self) -> Any:
        return describe("Spearman rank correlation coefficient.", datasets.Value("float64"))

    def _compute(
        self, predictions: list[float], references: list[float], return_pvalue: bool = False
    ) -> dict[str, float]:
        value, chance = _correlation(statistics.spearmanr, predictions, references)
        return {"spearmanr": value} | ({"spearmanr_pvalue": chance} if return_pvalue else {})


class PearsonSpearman(OfflineMetric):
    """Both correlations, as GLUE scores STS-B."""

    def _info(self) -> Any:
        return describe("Pearson and Spearman correlation.", datasets.Value("float64"))

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {
            "pearsonr": _correlation(statistics.pearsonr, predictions, references)[0],
            "spearmanr": _correlation(statistics.spearmanr, predictions, references)[0],
        }


def _correlation(
    measure: Callable[..., Any], predictions: Sequence[float], references: Sequence[float]
) -> tuple[float, float]:
    """The correlation, and the chance of one as large where there is none."""
    if len(references) < 2:
        raise InputError(
            f"a correlation needs two texts at least, got {len(references)}; take more texts"
        )
    if len(set(predictions)) == 1 or len(set(references)) == 1:
        logger.warning(
            "a correlation with a constant is not defined (nan): all predictions or all "
            "references are equal. Take data with different numbers."
        )
        return float("nan"), float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", statistics.NearConstantInputWarning)
        found = measure(references, predictions)
    return float(found.statistic), float(found.pvalue)
