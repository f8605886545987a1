"""What the Hub calls a model's task and its metrics."""

from __future__ import annotations

from thex_hf.modeling.configuration_thex_bert import ThexBertConfig

TASKS = {
    "ThexBertModel": "feature-extraction",
    "ThexBertForSequenceClassification": "text-classification",
    "ThexBertForTokenClassification": "token-classification",
}
"""The Hub's task by model class."""

_METRICS = {
    "pearson": "pearsonr",
    "tag-f1": "f1",
    "f1_micro": "f1",
    "f1_macro": "f1",
    "overall_f1": "f1",
    "overall_precision": "precision",
    "overall_recall": "recall",
    "overall_accuracy": "accuracy",
}


def task_of(config: ThexBertConfig) -> str:
    """The Hub's name of the task of a model, from its architecture."""
    names = config.architectures or ["ThexBertForSequenceClassification"]
    return TASKS.get(str(names[0]), "text-classification")


def is_regression(config: ThexBertConfig) -> bool:
    """Whether the model gives a number and not a class."""
    if task_of(config) != "text-classification":
        return False
    return bool(config.problem_type == "regression" or config.num_labels == 1)


def hub_metric(name: str) -> str:
    """The Hub's name of one of our metrics."""
    return _METRICS.get(name, name)
