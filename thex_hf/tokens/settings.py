"""What ``tokenizer_config.json`` adds to ``tokenizer.json``, and whether the two agree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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


SAME = {
    "add_prefix_space": ("ByteLevel", "add_prefix_space"),
    "do_lower_case": ("BertNormalizer", "lowercase"),
    "strip_accents": ("BertNormalizer", "strip_accents"),
    "tokenize_chinese_chars": ("BertNormalizer", "handle_chinese_chars"),
}
"""Settings, and the part of a tokenizer and its field that should say the same."""
AS_IT_IS = "TokenizersBackend"
"""The class whose tokenizers are not changed."""


def check_consistent(settings: Mapping[str, Any], tokenizer: str, folder: str) -> None:
    """Refuse a folder whose two files differ.

    Args:
        settings: of ``tokenizer_config.json``.
        tokenizer: JSON text of the tokenizer.
        folder: where they are, for the message.

    Raises:
        ConversionError: names the setting.
    """
    if settings.get("tokenizer_class") == AS_IT_IS:
        return
    whole = json.loads(tokenizer)
    parts = [*_parts(whole.get("normalizer")), *_parts(whole.get("pre_tokenizer"))]
    for name, (kind, key) in SAME.items():
        wanted = settings.get(name)
        for part in parts:
            if isinstance(wanted, bool) and part.get("type") == kind and part.get(key) != wanted:
                raise ConversionError(
                    f"in {folder!r} tokenizer_config.json says {name}={wanted}, and {kind} of "
                    f"tokenizer.json has {key}={part.get(key)}: its tokens are not those of "
                    f"transformers. Save the tokenizer anew, "
                    f"AutoTokenizer.from_pretrained(folder).save_pretrained(folder), and try again"
                )


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """A part of a tokenizer, and all parts inside it."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _parts(inner)
