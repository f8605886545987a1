"""The THE-X model that a conversion starts from, and weights for a head that lost its pooler."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from thex_hf.approximations.softmax import load_reciprocal
from thex_hf.conversion.sources.adapter import refuse_unmerged
from thex_hf.conversion.sources.families import SEQUENCE, Family, to_thex
from thex_hf.conversion.sources.registry import family_of, label_fields
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertClassifier, ThexBertConfig
from thex_hf.modeling.modeling_thex_bert import CLASSIFIERS
from thex_hf.tasks import SOURCES

CLASSES = {source: CLASSIFIERS[task.name] for source, task in SOURCES.items()}
"""Our classifiers, by what conversions call their task."""


def start_model(
    source_model: PreTrainedModel,
    *,
    task: str = SEQUENCE,
    pooling: str = "cls",
    activation: str = "relu",
    softmax: str = "estimate",
    norm: str = "layernorm",
) -> ThexBertClassifier:
    """Copy a classifier to a model of ours, without anything between pooling and classifier.

    A classifier of tokens is copied as it is. One of texts has lost its pooler or dense layer
    and has to be fitted again: :func:`fit_head`, or training.

    Args:
        source_model: of a supported family, or unconverted THE-X model with a fresh classifier.
        task: ``"sequence"`` or ``"tokens"``; the source model's.
        pooling: ``"cls"`` or ``"mean"``; for texts.
        activation: ``"relu"`` on the way to THE-X form, ``"gelu"`` to keep the function.
        softmax: ``"estimate"`` or ``"exact"``, likewise.
        norm: ``"layernorm"`` or ``"affine"``.

    Returns:
        A new model in evaluation mode, on the CPU.

    Raises:
        ConversionError: the model is of no supported family, classifies something else, or has
            layers of an adapter that were not merged.
    """
    check_task(source_model, task)
    kinds = {"activation": activation, "softmax": softmax, "norm": norm, "pooling": pooling}
    state = source_model.state_dict()
    refuse_unmerged(state)
    if isinstance(source_model, ThexBertClassifier):
        config = _changed(source_model.config, kinds)
    else:
        family = family_of(source_model.config, task)
        config = thex_config(source_model.config, family, **kinds)
        state = to_thex(state, family)
    if softmax == "estimate":
        config.reciprocal = load_reciprocal().fingerprint()
    return fill(CLASSES[task](config), state)


def fill(model: ThexBertClassifier, state: dict[str, Tensor]) -> ThexBertClassifier:
    """Load tensors into a model and put it in evaluation mode."""
    model.load_state_dict(state)
    model.eval()
    return model


def check_task(model: PreTrainedModel, task: str) -> None:
    """Refuse a model that does not do the task.

    Raises:
        ConversionError: unknown task, or a classifier of the other kind.
    """
    if task not in CLASSES:
        raise ConversionError(f"task should be {' or '.join(CLASSES)}; got {task!r}.")
    ending = SOURCES[task].ending
    if not type(model).__name__.endswith(ending):
        raise ConversionError(
            f"task {task!r} needs a model whose class ends in {ending}; got "
            f"{type(model).__name__}. Load it with load_source(..., task={task!r})."
        )


def thex_config(
    source: PretrainedConfig,
    family: Family,
    *,
    activation: str,
    softmax: str,
    norm: str,
    **changes: Any,
) -> ThexBertConfig:
    """Make the THE-X configuration of the same sizes, labels and task.

    Args:
        source: configuration of the model to convert.
        family: its family.
        activation: ``"relu"`` or ``"gelu"``; GELU becomes ReLU if the source has that.
        softmax: ``"estimate"`` or ``"exact"``.
        norm: ``"affine"`` or ``"layernorm"``.
        **changes: further fields.
    """
    if activation == "gelu" and getattr(source, family.activation) == "relu":
        activation = "relu"
    fields = {ours: getattr(source, theirs) for ours, theirs in family.sizes.items()}
    fields["max_position_embeddings"] -= family.position_offset
    labels = {} if "id2label" in changes else label_fields(source, family.task)
    kinds = {"activation": activation, "softmax": softmax, "norm": norm}
    return ThexBertConfig(**{**fields, **family.constants, **labels, **kinds, **changes})


def _changed(config: ThexBertConfig, kinds: dict[str, str]) -> ThexBertConfig:
    """Copy a THE-X configuration with other kinds; GELU stays ReLU where that was."""
    if config.activation == "quadratic" or config.softmax == "power":
        raise ConversionError(
            "this model is in polynomial or normalised form, or on the way to it, and cannot be "
            "started from again: start from the model that it was made from."
        )
    if kinds["activation"] == "gelu" and config.activation == "relu":
        kinds = {**kinds, "activation": "relu"}
    changed = copy.deepcopy(config)
    for name, value in kinds.items():
        setattr(changed, name, value)
    changed.ranges = changed.calibration = None
    return changed


@torch.no_grad()
def fresh_model(
    encoder: PreTrainedModel, *, task: str, pooling: str, labels: dict[str, Any]
) -> ThexBertClassifier:
    """Put a fresh classifier on a bare encoder, as an unconverted model of ours.

    Its function is the encoder's: exact activation, softmax and norms. The classifier's
    weights are drawn from torch's generator.

    Args:
        encoder: ``BertModel`` or the like.
        task: ``"sequence"`` or ``"tokens"``.
        pooling: ``"cls"`` or ``"mean"``.
        labels: fields ``id2label``, ``label2id`` and ``problem_type`` of the configuration.
    """
    family = family_of(encoder.config, task)
    kinds = {"activation": "gelu", "softmax": "exact", "norm": "layernorm", "pooling": pooling}
    config = thex_config(encoder.config, family, **kinds, **labels)
    model = CLASSES[task](config)
    state = {f"{family.prefix}.{key}": tensor for key, tensor in encoder.state_dict().items()}
    head = {f"classifier.{key}": tensor for key, tensor in model.classifier.state_dict().items()}
    return fill(model, to_thex(state, family) | head)


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
