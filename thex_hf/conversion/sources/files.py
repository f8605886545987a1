"""Read what belongs to a source checkpoint: configuration, pooling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig
from transformers.utils import cached_file

from thex_hf.errors import ConversionError
from thex_hf.modeling.opening import check_name

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
