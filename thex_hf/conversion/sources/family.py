"""One architecture family: names of its tensors and of its configuration's fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thex_hf.errors import ConversionError

Table = tuple[tuple[str, str], ...]

SEQUENCE, TOKENS, HEADLESS = "sequence", "tokens", "headless"

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


@dataclass(frozen=True)
class Family:
    """How the tensors and fields of one family translate to ours and back.

    Args:
        name: for messages.
        prefix: the encoder's name inside a classifier, without the dot.
        encoder: prefixes of the encoder's tensors, the family's to the left; ``#`` stands
            for a layer number. The first match counts, in both directions.
        classes: architecture to ``sequence``, ``tokens`` or ``headless``, for each
            ``model_type``.
        lost: prefixes of tensors without counterpart: poolers, dense layers of heads.
        sequence_head: prefix of the linear classifier of texts; that of tokens is always
            ``classifier.``.
        sizes: our configuration's fields, and what the family calls them.
        constants: fields of ours that the family's configuration does not have.
        activation: what the family's configuration calls ``hidden_act``.
        position_offset: rows of the position table before that of the first token.
        segments: whether there is a table of segment embeddings.
        pooler: whether the bare encoder takes ``add_pooling_layer``.
        task: which head the table is for, ``sequence`` or ``tokens``.
    """

    name: str
    prefix: str
    encoder: Table
    classes: Mapping[str, Mapping[str, str]]
    lost: tuple[str, ...] = ()
    sequence_head: str = "classifier."
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
        head = self.sequence_head if self.task == SEQUENCE else "classifier."
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
        f"{stem}ForSequenceClassification": SEQUENCE,
        f"{stem}ForTokenClassification": TOKENS,
        **{f"{stem}{ending}": HEADLESS for ending in ("Model", "ForMaskedLM", *bare)},
    }
