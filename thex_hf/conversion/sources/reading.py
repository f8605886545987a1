"""Read a checkpoint: its configuration, its pooling, and its weights, all there and finite."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from thex_hf.conversion.sources.families import HEADLESS, Family
from thex_hf.conversion.sources.registry import supported
from thex_hf.errors import ConversionError
from thex_hf.modeling.opening import check_name
from thex_hf.tasks import TASKS

POOLING_FILE = "1_Pooling/config.json"


def read_config(source: str | Path) -> dict[str, Any]:
    """Read ``config.json`` without building anything.

    Raises:
        ConversionError: there is none, or it is no JSON object.
    """
    name = check_name(source)
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise ConversionError(
            f"the model folder {name!r} should hold config.json, weights and tokenizer; it has no "
            "config.json."
        )
    try:
        config: dict[str, Any] = PretrainedConfig.get_config_dict(name)[0]
        if not isinstance(config, dict):
            raise TypeError
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, AttributeError | TypeError):
            reason = "its config.json holds no JSON object."
        raise ConversionError(
            f"{name!r} should be a model folder or a Hub name: {reason}"
        ) from error
    return config


def read_pooling(source: str | Path) -> str | None:
    """Read how a sentence-transformers folder pools; None if it is no such folder.

    Raises:
        ConversionError: neither the first token nor the mean, or more than one way.
    """
    path = optional_file(source, POOLING_FILE)
    if path is None:
        return None
    try:
        pooling = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{POOLING_FILE} of {str(source)!r} is no JSON: {error}") from error
    modes = [name.removeprefix("pooling_mode_") for name, on in pooling.items() if on is True]
    modes = [name for name in modes if f"pooling_mode_{name}" in pooling]
    if isinstance(pooling.get("pooling_mode"), str):
        modes = [pooling["pooling_mode"]]
    names = {"cls_token": "cls", "mean_tokens": "mean", "cls": "cls", "mean": "mean"}
    if len(modes) != 1 or modes[0] not in names:
        raise ConversionError(
            f"{str(source)!r} pools by {', '.join(modes) or 'nothing'} ({POOLING_FILE}); supported "
            "are cls_token and mean_tokens. Name the pooling to use instead."
        )
    return names[modes[0]]


def optional_file(source: str | Path, name: str) -> Path | None:
    """Find a file of a folder or Hub model that need not be there."""
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    cached = cached_file(
        str(source),
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if cached is None else Path(cached)


LOADERS = {
    **{task.source: getattr(transformers, task.auto_class) for task in TASKS},
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
