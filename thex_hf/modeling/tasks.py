"""What classifiers read, the losses of their tasks, and what the Hub calls them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thex_hf.errors import ConversionError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.layers import first_true
from thex_hf.tasks import TASKS, TEXT

REGRESSION = "regression"
PROBLEM_TYPES = (REGRESSION, "single_label_classification", "multi_label_classification")
"""What transformers calls the task of a classifier of texts."""
IGNORED = -100
"""Label of a token that has none: padding, special tokens, later pieces of a word."""


def pool(stream: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """Reduce the last stream ``(batch, seq, d)`` to one row a text, ``(batch, d)``.

    Args:
        stream: output of the last layer.
        mask: zeros and ones, shape ``(batch, seq)``; None for all ones.
        pooling: ``"cls"``, the row of the first true token, or ``"mean"``, the mean over rows of
            true tokens.

    Raises:
        ConversionError: another pooling.
    """
    if pooling == "cls" and mask is not None:
        return stream[torch.arange(len(stream), device=stream.device), first_true(mask)]
    if pooling == "cls":
        return stream[:, 0]
    if pooling != "mean":
        raise ConversionError(f"pooling should be cls or mean; got {pooling!r}.")
    if mask is None:
        return stream.mean(1)
    weights = mask.to(stream.dtype).unsqueeze(-1)
    return (stream * weights).sum(1) / weights.sum(1)


def problem_type(num_labels: int, labels: Tensor) -> str:
    """Tell the kind of task from labels, by Hugging Face's rule."""
    if num_labels == 1:
        return "regression"
    if labels.dtype in (torch.long, torch.int):
        return "single_label_classification"
    return "multi_label_classification"


def task_loss(logits: Tensor, labels: Tensor, kind: str, smoothing: float = 0.0) -> Tensor:
    """Loss of logits ``(batch, labels)`` for a problem type.

    Raises:
        ConversionError: unknown problem type.
    """
    if kind == "regression":
        return nn.functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).squeeze(-1))
    if kind == "single_label_classification":
        return nn.functional.cross_entropy(
            logits, labels.view(-1).long(), label_smoothing=smoothing
        )
    if kind == "multi_label_classification":
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    raise ConversionError(
        "problem_type should be regression, single_label_classification or "
        f"multi_label_classification; got {kind!r}."
    )


def token_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy of token logits ``(batch, seq, labels)``.

    Args:
        logits: of every token.
        labels: class ids ``(batch, seq)``; tokens with :data:`IGNORED` do not count.
        smoothing: label smoothing, 0 to 1.
    """
    return nn.functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten().long(),
        ignore_index=IGNORED,
        label_smoothing=smoothing,
    )


HUB_TASKS = {
    "ThexBertModel": "feature-extraction",
    **{task.model_class: task.name for task in TASKS},
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
    names = config.architectures or [TEXT.model_class]
    return HUB_TASKS.get(str(names[0]), TEXT.name)


def is_regression(config: ThexBertConfig) -> bool:
    """Whether the model gives a number and not a class."""
    if task_of(config) != TEXT.name:
        return False
    return bool(config.problem_type == "regression" or config.num_labels == 1)


def hub_metric(name: str) -> str:
    """The Hub's name of one of our metrics."""
    return _METRICS.get(name, name)
