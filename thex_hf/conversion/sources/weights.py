"""Load the weights of a checkpoint, all there and finite; their names in ours, and back."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from thex_hf.conversion.sources.family import HEADLESS, SEQUENCE, TOKENS, Family
from thex_hf.conversion.sources.registry import supported
from thex_hf.errors import ConversionError

LOADERS = {
    SEQUENCE: AutoModelForSequenceClassification,
    TOKENS: AutoModelForTokenClassification,
    HEADLESS: AutoModel,
}


def load_model(
    source: str | Path,
    head: str,
    family: Family,
    given: Set[str] = frozenset(),
    **settings: Any,
) -> PreTrainedModel:
    """Load the weights and check that they are all there and finite.

    Args:
        source: folder or Hub name.
        head: which class to load.
        family: of the model.
        given: tensors that an adapter brings, which need not be there or have other shapes.
        **settings: of its configuration.

    Raises:
        ConversionError: they are not, or cannot be read.
    """
    extra = {"add_pooling_layer": False} if head == HEADLESS and family.pooler else settings
    try:
        model, info = LOADERS[head].from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=bool(given),
            **extra,
        )
    except Exception as error:  # whatever transformers says of files that it does not take
        reason = " ".join(str(error).split())
        if "ignore_mismatched_sizes" in reason or "size mismatch" in reason:
            reason = (
                "the shapes of its tensors are not those that config.json says (is id2label as "
                f"long as the classifier?). {reason}"
            )
        raise ConversionError(
            f"{str(source)!r} cannot be loaded: {reason} ({type(error).__name__}). {supported()}"
        ) from error
    _check_complete(info, family, source, given)
    check_tensors(model, source)
    return model.float().eval()


def _check_complete(
    info: Mapping[str, Any], family: Family, source: str | Path, given: Set[str]
) -> None:
    """Refuse an encoder that lacks a tensor or has one too many, such as an adapter's.

    Raises:
        ConversionError: names the tensors.
    """
    encoder = (f"{family.prefix}.", "embeddings.", "encoder.", "transformer.")
    problems = {
        "missing": set(info["missing_keys"]) - given,
        "of another shape": {_name(entry) for entry in info["mismatched_keys"]} - given,
        "without counterpart": [
            name
            for name in info["unexpected_keys"]
            if name.startswith(encoder) and not family.drops(name)
        ],
    }
    wrong = [f"{what}: {', '.join(sorted(names)[:5])}" for what, names in problems.items() if names]
    if wrong:
        raise ConversionError(
            f"{str(source)!r} is not a complete, plain {family.name} model; tensors "
            f"{'; '.join(wrong)}. {supported()}"
        )


def _name(entry: str | tuple[str, Any, Any]) -> str:
    """The tensor in a report of shapes; before transformers 5 there is nothing but its name."""
    return entry if isinstance(entry, str) else entry[0]


@torch.no_grad()
def check_tensors(model: PreTrainedModel, source: str | Path) -> None:
    """Refuse NaN and infinity, and a layer norm that lets nothing through.

    Raises:
        ConversionError: names the first such tensor.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ConversionError(
                f"tensor {name!r} of {str(source)!r} holds values that are not finite (NaN or "
                "infinity): the training of this model diverged, or the file is damaged."
            )
        if name.lower().endswith(("layernorm.weight", "layer_norm.weight")) and not tensor.any():
            raise ConversionError(
                f"{name!r} of {str(source)!r} holds zeros only: nothing of a text gets past this "
                "layer norm, so the model answers the same to every text. Train it first."
            )


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
