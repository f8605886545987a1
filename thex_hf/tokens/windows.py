"""A long text as overlapping windows, and their logits put together.

``stride`` is what it is in transformers: the number of tokens that a window shares with the one
before. The windows are those of ``return_overflowing_tokens=True``, cut from the beginning on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

import numpy as np

from thex_hf._choices import POOLS, one_of
from thex_hf.errors import InputError, OptionError, TextError
from thex_hf.tokens.texts import Span
from thex_hf.tokens.tokenise import Array, Tokens
from thex_hf.tokens.window_words import merged, word_spans

WINDOW_OPTIONS = ("window", "stride", "pool")


@dataclass(frozen=True)
class WindowOptions:
    """How a text is cut, and how the logits of its windows become the text's.

    Args:
        window: the most tokens of a window, special tokens included.
        stride: how many tokens of the text a window shares with the one before.
        pool: ``mean`` of each logit over the windows, weighted by how many tokens of the text each
            has: the last window may hold a single word, which should not count as much as a
            hundred. Or ``max``, the largest of each logit.

    Raises:
        OptionError: a value that is not on offer.
    """

    window: int
    stride: int = 0
    pool: str = POOLS[0]

    def __post_init__(self) -> None:
        for name, least in (("window", 1), ("stride", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise OptionError(f"{name} must be a whole number, {least} or more, got {value!r}")
        one_of("pool", self.pool, POOLS)

    @classmethod
    def of(
        cls, window: int | None, stride: int | None = None, pool: str | None = None
    ) -> Self | None:
        """The options that were given; None: no windows.

        Raises:
            OptionError: ``stride`` or ``pool`` alone, or a value that is not on offer.
        """
        given = {"stride": stride, "pool": pool}
        named: dict[str, Any] = {name: x for name, x in given.items() if x is not None}
        if window is not None:
            return cls(window, **named)
        if named:
            raise OptionError(
                f"{next(iter(named))} goes with window, the most tokens of a window: give window "
                f"too, or leave it out"
            )
        return None

    def check(self, limit: int, added: int, *, number: bool = False) -> None:
        """Refuse what fits no text.

        Args:
            limit: the most tokens that model, tokenizer and circuit take at once.
            added: special tokens that the tokenizer adds to a text.
            number: the model answers a number, not labels.

        Raises:
            OptionError: says which option, and what it can be.
        """
        room = self.window - added
        if self.window > limit:
            raise OptionError(
                f"window can be {limit} at most, which is what model, tokenizer and circuit take "
                f"at once; got {self.window}"
            )
        if room < 1:
            raise OptionError(
                f"window must be {added + 1} or more, since {added} of its tokens are special "
                f"ones; got {self.window}"
            )
        if self.stride >= room:
            raise OptionError(
                f"stride must be less than {room}, the tokens of the text in a window of "
                f"{self.window}; got {self.stride}"
            )
        if number and self.pool != POOLS[0]:
            raise OptionError(
                f"pool={self.pool!r} takes the largest logit of each label, and the model answers "
                f"a number: use pool='mean'"
            )


@dataclass(frozen=True)
class Window:
    """A part of a text.

    Args:
        tokens: special ones included, and of a pair the whole of the shorter text.
        span: which tokens of the whole text, or pair, are the part that others have not.
    """

    tokens: Tokens
    span: Span


@dataclass(frozen=True)
class Cut:
    """A text and its windows. Made by :func:`cut`.

    Args:
        tokens: of the whole text.
        windows: in order; a text that is short enough is one window.
        pool: see :class:`WindowOptions`; None where each token is classified.
        words: tokens of each word, where each token is classified.
    """

    tokens: Tokens
    windows: tuple[Window, ...]
    pool: str | None
    words: tuple[Span, ...] = ()

    def failed(self, number: int, error: TextError) -> TextError:
        """The error of the text whose window at ``number``, from 1, cannot be served."""
        count = len(self.windows)
        return error if count == 1 else type(error)(f"window {number} of {count}: {error}")

    def pooled(self, logits: Sequence[Array]) -> Array:
        """The logits of the whole text.

        Args:
            logits: of each window: ``(labels,)``, or ``(tokens, labels)``.

        Returns:
            The same of the text.
        """
        if len(logits) == 1:
            return logits[0]
        spans = [window.span for window in self.windows]
        if self.pool is None:
            return merged(logits, spans, self.words, len(self.tokens))
        if self.pool == "max":
            most: Array = np.max(logits, axis=0)
            return most
        weights = [end - begin for begin, end in spans]
        mean: Array = np.average(np.asarray(logits), axis=0, weights=weights)
        return mean


def cut(tokens: Tokens, options: WindowOptions, words_of: Sequence[str] | None = None) -> Cut:
    """Cut a text into windows: of a pair the longer one, so that each window has all of the other.

    Args:
        tokens: of the whole text or pair.
        options: how.
        words_of: the texts, where each token is classified and words have to be put together.

    Raises:
        InputError: of a pair, even the shorter text leaves too little room.
    """
    begin, end = own = _longest(tokens)
    room = options.window - (len(tokens) - (end - begin))
    pool: str | None = options.pool
    words: tuple[Span, ...] = ()
    if words_of is not None:
        text = words_of[tokens.texts[begin] or 0 if tokens.texts else 0]
        pool, words = None, tuple(word_spans(tokens.spans or (), own, text))
    if len(tokens) <= options.window:
        return Cut(tokens, (Window(tokens, own),), pool, words)
    if room <= options.stride:
        raise InputError(
            f"a window of {options.window} tokens has room for {max(room, 0)} of the longer text "
            f"beside the shorter one, and stride={options.stride} asks for more; shorten the "
            f"shorter text, or give a larger window"
        )
    windows = []
    for start in range(begin, end, room - options.stride):
        stop = min(start + room, end)
        windows.append(Window(_part(tokens, own, (start, stop)), (start, stop)))
        if stop == end:
            break
    return Cut(tokens, tuple(windows), pool, words)


def _longest(tokens: Tokens) -> Span:
    """Where the longest text is among the tokens of one or two."""
    owners = tokens.texts or [None if added else 0 for added in tokens.special]
    found, start = [], 0
    for owner, run in groupby(owners):
        count = len([*run])
        if owner is not None:
            found.append((start, start + count))
        start += count
    return max(found, key=lambda span: span[1] - span[0])


def _part(tokens: Tokens, whole: Span, part: Span) -> Tokens:
    """The tokens with ``part`` in the place of ``whole``."""

    def shorter(values: Any) -> Any:
        if values is None:
            return None
        return (*values[: whole[0]], *values[slice(*part)], *values[whole[1] :])

    return Tokens(
        shorter(tokens.ids),
        shorter(tokens.segments),
        shorter(tokens.special),
        shorter(tokens.spans),
        shorter(tokens.texts),
    )
