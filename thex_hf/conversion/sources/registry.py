"""All families, by entry points, and what is said when none fits."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from transformers import PretrainedConfig
from transformers.utils import logging

from thex_hf.conversion.sources.family import SEQUENCE, Family
from thex_hf.conversion.sources.labels import label_fields
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertConfig

logger = logging.get_logger(__name__)

GROUP = "thex_hf.families"
"""Entry points: the name is a ``model_type``, the object a :class:`Family` that has it."""
BUILT_IN = {
    "bert": "thex_hf.conversion.sources.families:BERT",
    "distilbert": "thex_hf.conversion.sources.families:DISTILBERT",
    "roberta": "thex_hf.conversion.sources.families:ROBERTA",
    "xlm-roberta": "thex_hf.conversion.sources.families:ROBERTA",
    "camembert": "thex_hf.conversion.sources.families:ROBERTA",
    "electra": "thex_hf.conversion.sources.families:ELECTRA",
}
"""So that a source tree works before it is installed."""

ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu")


def model_types() -> dict[str, str]:
    """Every ``model_type`` on offer and the ``module:attribute`` behind it; built-in ones win."""
    installed = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    return {**BUILT_IN, **{name: installed[name] for name in sorted(installed.keys() - BUILT_IN)}}


def find_family(model_type: str) -> Family | None:
    """The family of a model type; None if there is none.

    Raises:
        ConversionError: its entry point cannot be loaded, or is no family of that model type.
    """
    target = model_types().get(model_type)
    if target is None:
        return None
    module, _, attribute = target.partition(":")
    try:
        family = getattr(import_module(module), attribute)
        if not isinstance(family, Family) or model_type not in family.classes:
            raise TypeError(f"it should be a Family with classes for {model_type!r}")
    except Exception as error:
        raise ConversionError(
            f"the family of model_type {model_type!r} ({target}) cannot be loaded: {error}; "
            f"reinstall the package that provides it"
        ) from error
    return family


def get_family(model_type: str) -> Family:
    """The family of a model type.

    Raises:
        ConversionError: no family has it, or as :func:`find_family`.
    """
    family = find_family(model_type)
    if family is None:
        raise ConversionError(f"model_type {model_type!r} is not supported. {supported()}")
    return family


def supported() -> str:
    """What can be converted, for messages; a family that cannot be loaded is left out."""
    parts = []
    for kind in model_types():
        try:
            family = find_family(kind)
        except ConversionError as error:
            logger.warning("%s", error)
            continue
        assert family is not None
        parts.append(f"model_type {kind}: {', '.join(family.classes[kind])}")
    return (
        f"Supported: {'; '.join(parts)}. hidden_act {', '.join(ACTIVATIONS)}; absolute positions; "
        "no decoder, no adapters, no pruned heads, not quantised; weights in safetensors."
    )


def family_of(config: PretrainedConfig, task: str = SEQUENCE) -> Family:
    """The family of a model, its table made for one task.

    Args:
        config: the model's configuration; RoBERTa's position offset depends on it.
        task: ``"sequence"`` or ``"tokens"``.

    Raises:
        ConversionError: no family has this model type.
    """
    family = get_family(config.model_type)
    if family.position_offset:
        family = replace(family, position_offset=config.pad_token_id + 1)
    return replace(family, task=task)


def head_of(config: dict[str, Any], name: str) -> str:
    """Tell the head of a checkpoint from its ``config.json``, or say why it is not supported.

    Args:
        config: the configuration as read.
        name: of the checkpoint, for messages.

    Returns:
        ``"sequence"``, ``"tokens"`` or ``"headless"``.

    Raises:
        ConversionError: says what was found and lists what is supported.
    """
    kind = config.get("model_type")
    if kind == ThexBertConfig.model_type:
        raise ConversionError(
            f"{name!r} is a THE-X model already: use it as it is, or convert the model that it "
            "was made from."
        )
    family = find_family(str(kind))
    if family is None:
        raise ConversionError(f"{name!r} cannot be converted: model_type {kind!r}. {supported()}")
    classes = family.classes[str(kind)]
    architectures = config.get("architectures") or []
    heads = [classes[entry] for entry in architectures if entry in classes]
    act = config.get(family.activation, "gelu")
    position = config.get("position_embedding_type") or "absolute"
    count = family.sizes["num_hidden_layers"]
    layers = config.get(count, 1)
    problems = {
        f"architectures {architectures}": not heads,
        f"{family.activation} {act!r}": act not in ACTIVATIONS,
        f"position_embedding_type {position!r}": position != "absolute",
        f"{count} {layers!r}": not isinstance(layers, int) or layers < 1,
        "is_decoder": bool(config.get("is_decoder")),
        "add_cross_attention": bool(config.get("add_cross_attention")),
        "pruned_heads": bool(config.get("pruned_heads")),
        "quantization_config": bool(config.get("quantization_config")),
    }
    wrong = [problem for problem, present in problems.items() if present]
    if wrong:
        raise ConversionError(f"{name!r} cannot be converted: {', '.join(wrong)}. {supported()}")
    return heads[0]


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
