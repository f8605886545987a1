"""Load the weights of a checkpoint, and see that they are all there and finite."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from thex_hf.conversion.sources.family import HEADLESS, SEQUENCE, TOKENS, Family
from thex_hf.conversion.sources.registry import SUPPORTED
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
            f"{str(source)!r} cannot be loaded: {reason} ({type(error).__name__}). {SUPPORTED}"
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
    found = {
        "missing": set(info["missing_keys"]) - given,
        "of another shape": {_name(entry) for entry in info["mismatched_keys"]} - given,
        "without counterpart": [
            name
            for name in info["unexpected_keys"]
            if name.startswith(encoder) and not family.drops(name)
        ],
    }
    wrong = [f"{what}: {', '.join(sorted(names)[:5])}" for what, names in found.items() if names]
    if wrong:
        raise ConversionError(
            f"{str(source)!r} is not a complete, plain {family.name} model; tensors "
            f"{'; '.join(wrong)}. {SUPPORTED}"
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
