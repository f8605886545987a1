"""One text as a model takes it, without padding: no answer depends on what it is batched with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thex_hf.ckks.engine import Vector
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier
from thex_hf.tokens.tokenise import Tokens, embed_rows

Row = Mapping[str, Tensor]
"""Tensors ``(1, n, ...)`` of one text's true tokens."""


def inputs_of(tokens: Tokens) -> dict[str, Tensor]:
    """A model's inputs, ``(1, n)`` each."""
    return {
        "input_ids": torch.tensor([tokens.ids]),
        "token_type_ids": torch.tensor([tokens.segments]),
        "attention_mask": torch.ones((1, len(tokens)), dtype=torch.long),
    }


@torch.no_grad()
def embed_row(model: ThexBertClassifier, row: Row) -> Vector:
    """Exact embeddings of a text's tokens, ``(n, d)``: the client's own work.

    The same numbers as :meth:`thex_hf.client.half.ClientHalf.embed` gives without torch.
    """
    block = model.thex_bert.embeddings
    block.check_length(row["input_ids"])
    ids = row["input_ids"][0].to(model.device)
    types = row.get("token_type_ids")
    tables = block.token_type_embeddings, block.position_embeddings
    if types is None or tables[0].num_embeddings == 1:
        kinds = torch.zeros_like(ids)
    else:
        kinds = types[0].to(model.device)
    project = block.embeddings_project
    return embed_rows(
        _array(block.word_embeddings.weight[ids]),
        _array(tables[0].weight[kinds]),
        _array(tables[1].weight[: len(ids)]),
        (_array(block.norm.weight), _array(block.norm.bias), block.norm.eps),
        None if project is None else (_array(project.weight), _array(project.bias)),
    )


def _array(values: Tensor) -> Any:
    return values.detach().float().cpu().numpy()
