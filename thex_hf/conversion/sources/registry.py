"""All families, and what is said when none fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import PretrainedConfig

from thex_hf.conversion.sources.families import BERT, DISTILBERT, ELECTRA, ROBERTA
from thex_hf.conversion.sources.family import SEQUENCE, Family
from thex_hf.conversion.sources.labels import label_fields
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertConfig

FAMILIES = {
    kind: family for family in (BERT, DISTILBERT, ROBERTA, ELECTRA) for kind in family.classes
}
"""The family of each ``model_type``."""

ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu")

SUPPORTED = (
    "Supported: "
    + "; ".join(
        f"model_type {kind}: {', '.join(family.classes[kind])}" for kind, family in FAMILIES.items()
    )
    + f". hidden_act {', '.join(ACTIVATIONS)}; absolute positions; no decoder, no adapters, no "
    "pruned heads, not quantised; weights in safetensors."
)


def family_of(config: PretrainedConfig, task: str = SEQUENCE) -> Family:
    """The family of a model, its table made for one task.

    Args:
        config: the model's configuration; RoBERTa's position offset depends on it.
        task: ``"sequence"`` or ``"tokens"``.

    Raises:
        ConversionError: no family has this model type.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ConversionError(f"model_type {config.model_type!r} is not supported. {SUPPORTED}")
    if family.position_offset:
        family = replace(family, position_offset=config.pad_token_id + 1)
    return replace(family, task=task)


def head_of(found: dict[str, Any], name: str) -> str:
    """Tell the head of a checkpoint from its ``config.json``, or say why it is not supported.

    Args:
        found: the configuration as read.
        name: of the checkpoint, for messages.

    Returns:
        ``"sequence"``, ``"tokens"`` or ``"headless"``.

    Raises:
        ConversionError: says what was found and lists what is supported.
    """
    kind = found.get("model_type")
    if kind == ThexBertConfig.model_type:
        raise ConversionError(
            f"{name!r} is a THE-X model already: use it as it is, or convert the model that it "
            "was made from."
        )
    family = FAMILIES.get(str(kind))
    if family is None:
        raise ConversionError(f"{name!r} cannot be converted: model_type {kind!r}. {SUPPORTED}")
    classes = family.classes[str(kind)]
    architectures = found.get("architectures") or []
    heads = [classes[entry] for entry in architectures if entry in classes]
    act = found.get(family.activation, "gelu")
    position = found.get("position_embedding_type") or "absolute"
    count = family.sizes["num_hidden_layers"]
    layers = found.get(count, 1)
    problems = {
        f"architectures {architectures}": not heads,
        f"{family.activation} {act!r}": act not in ACTIVATIONS,
        f"position_embedding_type {position!r}": position != "absolute",
        f"{count} {layers!r}": not isinstance(layers, int) or layers < 1,
        "is_decoder": bool(found.get("is_decoder")),
        "add_cross_attention": bool(found.get("add_cross_attention")),
        "pruned_heads": bool(found.get("pruned_heads")),
        "quantization_config": bool(found.get("quantization_config")),
    }
    wrong = [problem for problem, present in problems.items() if present]
    if wrong:
        raise ConversionError(f"{name!r} cannot be converted: {', '.join(wrong)}. {SUPPORTED}")
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
