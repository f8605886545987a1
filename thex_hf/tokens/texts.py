"""What is a text, or a pair of texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from thex_hf.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")


def check_text(text: Any, name: str = "the text") -> None:
    """Refuse what is no text, an empty one, or one that is not Unicode.

    Args:
        text: what came.
        name: what to call it.

    Raises:
        InputError: says what came.
    """
    if not isinstance(text, str):
        raise InputError(f"expected {_a(name)} (str), got {type(text).__name__}")
    if not text.strip():
        raise InputError(f"{name} is empty; there is nothing to classify")
    found = _SURROGATE.search(text)
    if found:
        raise InputError(
            f"{name} has half of a surrogate pair (U+{ord(found.group()):04X}) at character "
            f"{found.start() + 1}, which is no character: decode it anew, from UTF-8 or UTF-16"
        )


def text_and_pair(inputs: Any) -> tuple[str, str | None]:
    """The text, and the second one of a pair, of what a pipeline was given.

    Args:
        inputs: a text, a dictionary with ``text`` and perhaps ``text_pair``, or ``[[text, pair]]``.

    Raises:
        InputError: it is none of them, or a text is none.
    """
    text, pair = inputs, None
    if isinstance(inputs, Mapping):
        if set(inputs) - {"text", "text_pair"} or "text" not in inputs:
            raise InputError(
                f"expected a dictionary with 'text' and perhaps 'text_pair', got keys "
                f"{sorted(map(str, inputs))}"
            )
        text, pair = inputs["text"], inputs.get("text_pair")
    elif isinstance(inputs, list | tuple):
        text, pair = _old_pair(inputs)
    check_text(text)
    if pair is not None:
        check_text(pair, "the second text")
    return text, pair


def _old_pair(inputs: list[Any] | tuple[Any, ...]) -> tuple[Any, Any]:
    inner = inputs[0] if len(inputs) == 1 else None
    if isinstance(inner, list | tuple) and len(inner) == 2:
        return inner[0], inner[1]
    raise InputError(
        f"expected a text, got a {type(inputs).__name__}; several texts are one flat list, a pair "
        f"is a dictionary: {{'text': ..., 'text_pair': ...}}"
    )


def _a(name: str) -> str:
    return name.replace("the ", "a ", 1)
