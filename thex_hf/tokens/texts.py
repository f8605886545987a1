"""What is a text or a pair of texts, its words, and the tokens that stand for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from thex_hf.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")
Span = tuple[int, int]
"""Where something begins and ends in a text, in characters."""


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


def join_words(words: Sequence[str], by: str = " ") -> tuple[str, list[Span]]:
    """The text that words make, and where each of them stands in it."""
    places, begin = [], 0
    for word in words:
        places.append((begin, begin + len(word)))
        begin += len(word) + len(by)
    return by.join(words), places


def first_tokens(spans: Sequence[Span], places: Sequence[Span]) -> list[int | None]:
    """The token that stands for each word: the first one that shares a character with it.

    A token's span may begin with the blank before a word, or leave out what the tokenizer drops.

    Args:
        spans: of the tokens; empty ones stand for no character.
        places: of the words.

    Returns:
        Numbers of tokens. None for a word without one: it was dropped, or lies beyond the cut.
    """
    owner: dict[int, int] = {}
    for number in range(len(spans) - 1, -1, -1):
        owner.update(dict.fromkeys(range(*spans[number]), number))
    found = ([owner[at] for at in range(*place) if at in owner] for place in places)
    return [min(own, default=None) for own in found]


def tags_of_tokens(
    firsts: Sequence[int | None], tags: Sequence[int], count: int, ignored: int
) -> list[int]:
    """The tag of each of ``count`` tokens: its word's at the word's first token.

    Args:
        firsts: from :func:`first_tokens`.
        tags: of the words.
        count: of tokens.
        ignored: tag of all other tokens. One that is the first of several words has the tag of
            the first of them.
    """
    found = [ignored] * count
    for first, tag in reversed([*zip(firsts, tags, strict=True)]):
        if first is not None:
            found[first] = tag
    return found


def moved(place: Span, old: Sequence[Span], new: Sequence[Span]) -> Span:
    """A place in one joining of words, in another one of the same words.

    Args:
        place: from the beginning of a token to the end of the same or a later one.
        old: of the words where ``place`` is.
        new: of the words where it should be.
    """
    return _shift(place[0], old, new, start=True), _shift(place[1], old, new, start=False)


def _shift(at: int, old: Sequence[Span], new: Sequence[Span], *, start: bool) -> int:
    """A beginning between words moves to the next word, an end to the one before."""
    if start:
        word = next((i for i, own in enumerate(old) if at < own[1]), len(old) - 1)
    else:
        word = next((i for i in reversed(range(len(old))) if at > old[i][0]), 0)
    begin, end = old[word]
    return new[word][0] + min(max(at, begin), end) - begin
