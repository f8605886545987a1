"""Translate the tensors of a classifier to ours, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from thex_hf.conversion.sources.family import Family

KEY_BIAS, VALUE_BIAS = ".attention.key.bias", ".attention.value.bias"
POSITIONS = "thex_bert.embeddings.position_embeddings.weight"
SEGMENTS = "thex_bert.embeddings.token_type_embeddings.weight"


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
