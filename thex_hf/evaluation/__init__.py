"""Scoring: metrics that work offline, evaluators for evaluate, and ``evaluate_model``.

``import thex_hf.evaluation`` makes ``evaluate.evaluator("thex-text-classification")`` and
``evaluate.evaluator("thex-token-classification")`` known. It needs
``pip install 'thex_hf[evaluate]'``.
"""

from __future__ import annotations

from thex_hf.evaluation.evaluator import (
    ThexTextClassificationEvaluator,
    ThexTokenClassificationEvaluator,
    register,
)
from thex_hf.evaluation.metrics import (
    F1,
    Accuracy,
    Agreement,
    MatthewsCorrelation,
    Pearson,
    PearsonSpearman,
    SequenceF1,
    Spearman,
)
from thex_hf.evaluation.registry import GLUE, load_metric, metric_names
from thex_hf.evaluation.score import Scores, evaluate_model

__all__ = [
    "F1",
    "GLUE",
    "Accuracy",
    "Agreement",
    "MatthewsCorrelation",
    "Pearson",
    "PearsonSpearman",
    "Scores",
    "SequenceF1",
    "Spearman",
    "ThexTextClassificationEvaluator",
    "ThexTokenClassificationEvaluator",
    "evaluate_model",
    "load_metric",
    "metric_names",
    "register",
]

register()
