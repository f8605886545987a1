"""Logits of tokens from overlapping windows: each word from where it has most context."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from thex_hf.tokens.texts import Span
from thex_hf.tokens.tokenise import Array


def word_spans(spans: Sequence[Span], own: Span, text: str) -> Iterator[Span]:
    """The tokens of each word, where words are what stands between blanks.

    Args:
        spans: characters of each token.
        own: which tokens are the text's.
        text: as it was tokenised.
    """
    start, stop = own
    before = start
    for number in range(start + 1, stop):
        between = text[spans[number - 1][1] : spans[number][1]]
        if any(map(str.isspace, between)):
            yield before, number
            before = number
    if before < stop:
        yield before, stop


def merged(
    logits: Sequence[Array], windows: Sequence[Span], words: Sequence[Span], count: int
) -> Array:
    """The logits of a whole text's tokens, ``(count, labels)``.

    A word has those of the window in which it is whole and farthest from an end that is not the
    text's own; one that is whole in none has each token's from where that holds of the token.

    Args:
        logits: of each window ``(tokens, labels)``, special ones included.
        windows: which tokens of the text each one has.
        words: tokens of each word.
        count: of the text's tokens, special ones included, which come from the outer windows.
    """
    begin, end = windows[0][0], windows[-1][1]
    out = np.empty((count, logits[0].shape[-1]))
    out[:begin] = logits[0][:begin]
    out[end:] = logits[-1][len(logits[-1]) - (count - end) :]
    for word in words:
        whole = any(_holds(window, word) for window in windows)
        for part in [word] if whole else [(at, at + 1) for at in range(*word)]:
            best = _widest(windows, part, (begin, end))
            shift = begin - windows[best][0]
            out[slice(*part)] = logits[best][part[0] + shift : part[1] + shift]
    return out


def _holds(window: Span, part: Span) -> bool:
    return window[0] <= part[0] and part[1] <= window[1]


def _widest(windows: Sequence[Span], part: Span, text: Span) -> int:
    """The window with most tokens on the side of a part where it has fewer."""

    def context(number: int) -> float:
        window = windows[number]
        if not _holds(window, part):
            return -1
        left = math.inf if window[0] == text[0] else part[0] - window[0]
        right = math.inf if window[1] == text[1] else window[1] - part[1]
        return min(left, right)

    return max(range(len(windows)), key=context)
