"""Whether ``tokenizer_config.json`` and ``tokenizer.json`` say the same.

Where they differ transformers changes the tokenizer as it loads it, after the class that the first
file names; who reads the second one alone would see other tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from thex_hf.errors import ConversionError

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
