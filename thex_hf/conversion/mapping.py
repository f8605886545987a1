"""The names of BERT's tensors and of their THE-X counterparts, as a reversible table."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor
from transformers import BertConfig

from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertConfig

RENAMES: tuple[tuple[str, str], ...] = (
    ("bert.embeddings.LayerNorm.", "thex_bert.embeddings.norm."),
    ("bert.embeddings.", "thex_bert.embeddings."),
    ("bert.encoder.layer.#.attention.output.LayerNorm.", "thex_bert.layers.#.attention_norm."),
    ("bert.encoder.layer.#.attention.output.dense.", "thex_bert.layers.#.attention.output."),
    ("bert.encoder.layer.#.attention.self.", "thex_bert.layers.#.attention."),
    ("bert.encoder.layer.#.intermediate.dense.", "thex_bert.layers.#.up."),
    ("bert.encoder.layer.#.output.LayerNorm.", "thex_bert.layers.#.output_norm."),
    ("bert.encoder.layer.#.output.dense.", "thex_bert.layers.#.down."),
    ("classifier.", "classifier."),
)
"""Prefixes, BERT's to the left; ``#`` stands for a layer number. First match counts,
in both directions."""

DROPPED = re.compile(r"bert\.pooler\.|.*\.position_ids$|.*\.self\.key\.bias$")
"""BERT tensors without counterpart: softmax ignores a key bias; the pooler goes."""

VALUE_BIAS = re.compile(r"bert\.encoder\.layer\.(\d+)\.attention\.self\.value\.bias$")

SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "initializer_range",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "pad_token_id",
)


def rename(key: str, *, reverse: bool = False) -> str:
    """Translate the name of a tensor from BERT's to ours, or back.

    Raises:
        ConversionError: the name is in neither table.
    """
    for bert, thex in RENAMES:
        old, new = (thex, bert) if reverse else (bert, thex)
        match = re.match(re.escape(old).replace("\\#", r"(\d+)"), key)
        if match:
            number = match.group(1) if match.groups() else ""
            return new.replace("#", number) + key[match.end() :]
    raise ConversionError(
        f"tensor {key!r} has no counterpart in a THE-X BERT. Supported are the tensors of "
        "BertForSequenceClassification without adapters or decoder parts."
    )


def to_thex(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate the tensors of ``BertForSequenceClassification``.

    The value bias moves into the output bias, ``b_o + W_o b_v``: the weights of a
    softmax row sum to one, so nothing changes. The key bias adds a constant to a
    softmax row, so nothing changes without it either. The pooler is dropped.

    Args:
        state: name to tensor; not modified.

    Returns:
        A new dictionary for ``ThexBertForSequenceClassification``.
    """
    out = {
        rename(key): tensor.detach().clone()
        for key, tensor in state.items()
        if not DROPPED.match(key) and not VALUE_BIAS.match(key)
    }
    for key, bias in state.items():
        if found := VALUE_BIAS.match(key):
            prefix = f"thex_bert.layers.{found.group(1)}.attention.output."
            weight = out[prefix + "weight"]
            out[prefix + "bias"] += (weight.double() @ bias.detach().double()).to(weight.dtype)
    return out


def to_bert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate THE-X tensors back; key and value biases come back as zeros.

    The pooler is not restored: it is lost.

    Args:
        state: name to tensor, of ``ThexBertForSequenceClassification``.
    """
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = rename(key, reverse=True)
        out[name] = tensor.detach().clone()
        if re.search(r"\.self\.(key|value)\.weight$", name):
            out[name.removesuffix("weight") + "bias"] = tensor.new_zeros(tensor.shape[0])
    return out


def thex_config(source: BertConfig, *, activation: str, softmax: str, norm: str) -> ThexBertConfig:
    """Make the THE-X configuration of the same sizes, labels and task.

    Args:
        source: configuration of the model to convert.
        activation: ``"relu"`` or ``"gelu"``.
        softmax: ``"estimate"`` or ``"exact"``.
        norm: ``"affine"`` or ``"layernorm"``.
    """
    return ThexBertConfig(
        **{name: getattr(source, name) for name in SIZES},
        activation=activation,
        softmax=softmax,
        norm=norm,
        id2label=dict(source.id2label),
        label2id=dict(source.label2id),
        problem_type=source.problem_type,
    )
