"""The architecture families: names of their tensors and fields, and the way to ours and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thex_hf.errors import ConversionError
from thex_hf.tasks import TASKS, TEXT, TOKEN

Table = tuple[tuple[str, str], ...]
SEQUENCE, TOKENS, HEADLESS = TEXT.source, TOKEN.source, "headless"
SIZES = {
    name: name
    for name in (
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
}
"""Fields of ``ThexBertConfig`` and what BERT's configuration calls them."""

DISTANCE_BUCKETS = "relative_attention_num_buckets"
KEY_BIAS, VALUE_BIAS = ".attention.key.bias", ".attention.value.bias"
POSITIONS = "thex_bert.embeddings.position_embeddings.weight"
SEGMENTS = "thex_bert.embeddings.token_type_embeddings.weight"


@dataclass(frozen=True)
class Family:
    """How the tensors and fields of one family translate to ours and back.

    Args:
        name: for messages.
        prefix: the encoder's name inside a classifier, without the dot.
        encoder: prefixes of the encoder's tensors, the family's to the left; ``#`` stands
            for a layer number. The first match counts, in both directions.
        classes: architecture to the ``source`` of a :class:`thex_hf.tasks.Task` (``sequence``,
            ``tokens``) or ``headless``, for each ``model_type``.
        lost: prefixes of tensors without counterpart: poolers, dense layers of heads.
        sequence_head: prefix of the linear classifier of texts.
        heads: likewise for further tasks; ``classifier.`` where nothing is said.
        sizes: our configuration's fields, and what the family calls them.
        constants: fields of ours that the family's configuration does not have.
        activation: what the family's configuration calls ``hidden_act``.
        position_offset: rows of the position table before that of the first token.
        segments: whether there is a table of segment embeddings.
        pooler: whether the bare encoder takes ``add_pooling_layer``.
        task: which head the table is for, the ``source`` of a task.
    """

    name: str
    prefix: str
    encoder: Table
    classes: Mapping[str, Mapping[str, str]]
    lost: tuple[str, ...] = ()
    sequence_head: str = "classifier."
    heads: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, str] = field(default_factory=lambda: SIZES)
    constants: Mapping[str, Any] = field(default_factory=dict)
    activation: str = "hidden_act"
    position_offset: int = 0
    segments: bool = True
    pooler: bool = False
    task: str = SEQUENCE

    @property
    def table(self) -> Table:
        """The encoder's table and the classifier's row."""
        head = {SEQUENCE: self.sequence_head, **self.heads}.get(self.task, "classifier.")
        return (*self.encoder, (head, "classifier."))

    def drops(self, key: str) -> bool:
        """Whether a tensor of the family has no counterpart and none is needed."""
        return key.endswith((".position_ids", ".token_type_ids")) or key.startswith(self.lost)

    def rename(self, key: str, *, reverse: bool = False) -> str:
        """Translate the name of a tensor from the family's to ours, or back.

        Raises:
            ConversionError: the table has no row for it.
        """
        for theirs, ours in self.table:
            old, new = (ours, theirs) if reverse else (theirs, ours)
            match = re.match(re.escape(old).replace("\\#", r"(\d+)"), key)
            if match:
                number = match.group(1) if match.groups() else ""
                return new.replace("#", number) + key[match.end() :]
        raise ConversionError(
            f"tensor {key!r} has no counterpart in a THE-X BERT. Supported are the tensors of "
            f"{self.name} encoders and their classifiers, without decoder parts; an adapter is "
            "merged first: merge_and_unload()."
        )


def layer_table(prefix: str) -> Table:
    """The rows that all families but DistilBERT share.

    Args:
        prefix: the encoder's name inside a classifier.
    """
    layer, ours = f"{prefix}.encoder.layer.#.", "thex_bert.layers.#."
    return (
        (f"{prefix}.embeddings.LayerNorm.", "thex_bert.embeddings.norm."),
        (f"{prefix}.embeddings.", "thex_bert.embeddings."),
        (f"{layer}attention.output.LayerNorm.", f"{ours}attention_norm."),
        (f"{layer}attention.output.dense.", f"{ours}attention.output."),
        (f"{layer}attention.self.", f"{ours}attention."),
        (f"{layer}intermediate.dense.", f"{ours}up."),
        (f"{layer}output.LayerNorm.", f"{ours}output_norm."),
        (f"{layer}output.dense.", f"{ours}down."),
    )


def classes_of(stem: str, *bare: str) -> dict[str, str]:
    """The architectures of one model type.

    Args:
        stem: beginning of the class names.
        *bare: endings of further architectures whose head is not a classifier.
    """
    return {
        **{f"{stem}{task.ending}": task.source for task in TASKS if task.common},
        **{f"{stem}{ending}": HEADLESS for ending in ("Model", "ForMaskedLM", *bare)},
    }


BERT = Family(
    name="BERT",
    prefix="bert",
    encoder=layer_table("bert"),
    classes={"bert": classes_of("Bert", "ForPreTraining")},
    lost=("bert.pooler.",),
    pooler=True,
)
ROBERTA = Family(
    name="RoBERTa",
    prefix="roberta",
    encoder=layer_table("roberta"),
    classes={
        "roberta": classes_of("Roberta"),
        "xlm-roberta": classes_of("XLMRoberta"),
        "camembert": classes_of("Camembert"),
    },
    lost=("roberta.pooler.", "classifier.dense."),
    sequence_head="classifier.out_proj.",
    position_offset=2,
    pooler=True,
)
ELECTRA = Family(
    name="ELECTRA",
    prefix="electra",
    encoder=(
        ("electra.embeddings_project.", "thex_bert.embeddings.embeddings_project."),
        *layer_table("electra"),
    ),
    classes={"electra": classes_of("Electra", "ForPreTraining")},
    lost=("classifier.dense.",),
    sequence_head="classifier.out_proj.",
    sizes={**SIZES, "embedding_size": "embedding_size"},
)
LAYER, OURS = "distilbert.transformer.layer.#.", "thex_bert.layers.#."
DISTILBERT = Family(
    name="DistilBERT",
    prefix="distilbert",
    encoder=(
        ("distilbert.embeddings.LayerNorm.", "thex_bert.embeddings.norm."),
        ("distilbert.embeddings.", "thex_bert.embeddings."),
        (f"{LAYER}attention.q_lin.", f"{OURS}attention.query."),
        (f"{LAYER}attention.k_lin.", f"{OURS}attention.key."),
        (f"{LAYER}attention.v_lin.", f"{OURS}attention.value."),
        (f"{LAYER}attention.out_lin.", f"{OURS}attention.output."),
        (f"{LAYER}sa_layer_norm.", f"{OURS}attention_norm."),
        (f"{LAYER}ffn.lin1.", f"{OURS}up."),
        (f"{LAYER}ffn.lin2.", f"{OURS}down."),
        (f"{LAYER}output_layer_norm.", f"{OURS}output_norm."),
    ),
    classes={"distilbert": classes_of("DistilBert")},
    lost=("pre_classifier.",),
    sizes={
        "vocab_size": "vocab_size",
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "max_position_embeddings": "max_position_embeddings",
        "initializer_range": "initializer_range",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "pad_token_id": "pad_token_id",
    },
    constants={"layer_norm_eps": 1e-12, "type_vocab_size": 1},
    activation="activation",
    segments=False,
)


MPNET_LAYER = "mpnet.encoder.layer.#."
MPNET = Family(
    name="MPNet",
    prefix="mpnet",
    encoder=(
        ("mpnet.encoder.relative_attention_bias.", "thex_bert.relative.table."),
        ("mpnet.embeddings.LayerNorm.", "thex_bert.embeddings.norm."),
        ("mpnet.embeddings.", "thex_bert.embeddings."),
        (f"{MPNET_LAYER}attention.attn.q.", f"{OURS}attention.query."),
        (f"{MPNET_LAYER}attention.attn.k.", f"{OURS}attention.key."),
        (f"{MPNET_LAYER}attention.attn.v.", f"{OURS}attention.value."),
        (f"{MPNET_LAYER}attention.attn.o.", f"{OURS}attention.output."),
        (f"{MPNET_LAYER}attention.LayerNorm.", f"{OURS}attention_norm."),
        (f"{MPNET_LAYER}intermediate.dense.", f"{OURS}up."),
        (f"{MPNET_LAYER}output.LayerNorm.", f"{OURS}output_norm."),
        (f"{MPNET_LAYER}output.dense.", f"{OURS}down."),
    ),
    classes={"mpnet": classes_of("MPNet")},
    lost=("mpnet.pooler.", "classifier.dense."),
    sequence_head="classifier.out_proj.",
    sizes={
        **{ours: theirs for ours, theirs in SIZES.items() if ours != "type_vocab_size"},
        DISTANCE_BUCKETS: DISTANCE_BUCKETS,
    },
    constants={"type_vocab_size": 1},
    position_offset=2,
    segments=False,
    pooler=True,
)


def to_thex(state: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Translate the tensors of a classifier of ``family``.

    The value bias moves into the output bias, ``b_o + W_o b_v``: the weights of a
    softmax row sum to one, so nothing changes. The key bias adds a constant to a
    softmax row, so nothing changes without it either. Poolers and dense layers before the
    classifier are dropped, and so are position rows of padding. A family without segments
    gets one row of zeros for them.

    Args:
        state: name to tensor; not modified.
        family: of the model, for its task; see
            :func:`thex_hf.conversion.sources.registry.family_of`.

    Returns:
        A new dictionary for a THE-X classifier.

    Raises:
        ConversionError: a tensor is not in the family's table.
    """
    out = {
        family.rename(key): tensor.detach().clone()
        for key, tensor in state.items()
        if not family.drops(key)
    }
    for key in [key for key in out if key.endswith(KEY_BIAS)]:
        del out[key]
    for key in [key for key in out if key.endswith(VALUE_BIAS)]:
        layer, bias = key.removesuffix(VALUE_BIAS), out.pop(key)
        weight = out[f"{layer}.attention.output.weight"]
        moved = (weight.double() @ bias.double()).to(weight.dtype)
        out[f"{layer}.attention.output.bias"] += moved
    out[POSITIONS] = out[POSITIONS][family.position_offset :]
    if not family.segments:
        out[SEGMENTS] = torch.zeros_like(out[POSITIONS][:1])
    return out


def to_source(state: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Translate THE-X tensors back to those of ``family``.

    Key and value biases and position rows of padding come back as zeros. Where the family
    has no segments, our one segment row is added to the positions. What was dropped
    (poolers, dense layers before the classifier) is not restored.

    Args:
        state: name to tensor, of a THE-X classifier; not modified.
        family: as in :func:`to_thex`.

    Raises:
        ConversionError: a tensor is not in the family's table.
    """
    ours = {key: tensor.detach().clone() for key, tensor in state.items()}
    if not family.segments:
        ours[POSITIONS] += ours.pop(SEGMENTS)[0]
    padding = ours[POSITIONS].new_zeros(family.position_offset, ours[POSITIONS].shape[1])
    ours[POSITIONS] = torch.cat([padding, ours[POSITIONS]])
    for key in [key for key in ours if key.endswith((".key.weight", ".value.weight"))]:
        ours[key.removesuffix("weight") + "bias"] = ours[key].new_zeros(ours[key].shape[0])
    return {family.rename(key, reverse=True): tensor for key, tensor in ours.items()}
