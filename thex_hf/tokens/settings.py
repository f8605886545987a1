"""What ``tokenizer_config.json`` adds to ``tokenizer.json``, for those without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thex_hf.errors import ConversionError

NAME = "tokenizer_config.json"
SEGMENTS = "token_type_ids"
TOLD = ("Bert", "Electra")
"""Beginnings of the tokenizer classes whose models are told of segments, unless the file says."""
OPEN = "PreTrainedTokenizerFast"
"""Transformers 4 tells the models of such tokenizers of segments, and transformers 5 does not."""


def read_settings(folder: Path) -> dict[str, Any]:
    """The file's entries; none where there is no file.

    Raises:
        ConversionError: it is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{str(path)!r} is damaged: {error}; get it again") from error
    if not isinstance(found, dict):
        raise ConversionError(f"{str(path)!r} should be a JSON object; get it again")
    return found


def told_of_segments(settings: Mapping[str, Any]) -> bool | None:
    """Whether the model is told which of two texts a token is of, as transformers decides it.

    None where that depends on the version of transformers.
    """
    names = settings.get("model_input_names")
    if isinstance(names, list):
        return SEGMENTS in names
    kind = settings.get("tokenizer_class")
    return None if kind == OPEN else kind is None or str(kind).startswith(TOLD)


def most_tokens(settings: Mapping[str, Any]) -> float | None:
    """``model_max_length``; None where there is none."""
    most = settings.get("model_max_length")
    return float(most) if isinstance(most, int | float) else None


def special_as_text(settings: Mapping[str, Any]) -> bool:
    """Whether special tokens that are typed in a text are read as text."""
    return bool(settings.get("split_special_tokens", False))
