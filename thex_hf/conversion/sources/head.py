"""Give a classifier that lost its pooler weights to start from."""

from __future__ import annotations

import torch
from torch import Tensor

from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertClassifier

RIDGE = 1e-3
"""Penalty on squared weights, as a share of the mean variance of a feature."""


@torch.no_grad()
def fit_head(model: ThexBertClassifier, states: Tensor, logits: Tensor) -> None:
    """Set the classifier to the ridge regression of logits on states, in place.

    Minimises ``|X W - Y|^2 + alpha |W|^2`` over centred ``X`` and ``Y`` in float64, with
    ``alpha`` :data:`RIDGE` times the mean diagonal of ``X^T X``. The bias is not penalised.

    Args:
        model: its classifier is overwritten.
        states: ``(n, d)``, what the classifier reads (:meth:`ThexBertClassifier.read`).
        logits: ``(n, labels)``, what it should answer, such as the source model's.

    Raises:
        ConversionError: shapes do not fit, or a value is not finite.
    """
    labels, features = model.classifier.weight.shape
    wanted = [(len(states), features), (len(states), labels)]
    if [tuple(states.shape), tuple(logits.shape)] != wanted or not len(states):
        raise ConversionError(
            f"states and logits should have shapes (n, {features}) and (n, {labels}); got "
            f"{tuple(states.shape)} and {tuple(logits.shape)}."
        )
    x, y = states.detach().cpu().double(), logits.detach().cpu().double()
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ConversionError(
            "the classifier cannot be fitted: states or logits are not finite. The model "
            "diverged; train with a lower learning rate."
        )
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    alpha = max(RIDGE * float(gram.diagonal().mean()), torch.finfo(torch.double).tiny)
    weight = torch.linalg.solve(gram + alpha * torch.eye(features, dtype=torch.double), x.T @ y)
    model.classifier.weight.copy_(weight.T)
    model.classifier.bias.copy_(y_mean - x_mean @ weight)
