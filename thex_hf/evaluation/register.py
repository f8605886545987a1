"""Make our evaluators known to ``evaluate.evaluator``."""

from __future__ import annotations

from thex_hf.evaluation.base import evaluators
from thex_hf.evaluation.evaluator import ThexTextClassificationEvaluator
from thex_hf.evaluation.token_evaluator import ThexTokenClassificationEvaluator

EVALUATORS = {
    "thex-text-classification": (ThexTextClassificationEvaluator, "accuracy"),
    "thex-token-classification": (ThexTokenClassificationEvaluator, "seqeval"),
}


def register() -> None:
    """Register the evaluators; may be called again. ``import thex_hf.evaluation`` has done it."""
    for task, (implementation, metric) in EVALUATORS.items():
        evaluators.SUPPORTED_EVALUATOR_TASKS[task] = {
            "implementation": implementation,
            "default_metric_name": metric,
        }
