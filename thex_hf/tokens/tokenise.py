"""The one way from a text to tokens, and from their rows to embeddings: the same for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thex_hf.errors import InputError
from thex_hf.tokens.options import TokenOptions, check_length
from thex_hf.tokens.texts import Span, check_text

if TYPE_CHECKING:
    from tokenizers import Encoding
PLAIN = TokenOptions()
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text or pair, special ones included, without padding.

    Args:
        ids: of the tokens.
        segments: 0, or what the tokenizer says if the model is told of segments.
        special: whether the tokenizer added the token; one typed in the text is no such.
        spans: the characters of its text that each token stands for; None of a slow tokenizer.
        texts: 0 or 1, the text it is of, None of added tokens; None of a slow tokenizer.
    """

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    special: tuple[bool, ...]
    spans: tuple[Span, ...] | None = None
    texts: tuple[int | None, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def all_are(self, unknown: int | None) -> bool:
        """Whether no token but those that were added is another than ``unknown``."""
        own = [i for i, added in zip(self.ids, self.special, strict=True) if not added]
        return bool(own) and set(own) == {unknown}


def tokenise(
    tokenizer: Any,
    text: str,
    pair: str | None = None,
    *,
    limit: int,
    options: TokenOptions = PLAIN,
) -> Tokens:
    """Tokenise with a tokenizer of transformers.

    Args:
        tokenizer: fast or slow.
        text: to read.
        pair: the second text of a pair.
        limit: the most tokens, see :func:`thex_hf.tokens.options.limit_of`.
        options: cut the text or refuse it, and special tokens.

    Raises:
        InputError: a text is none, is too long, nothing is left of it, or ``only_second`` and
            there is no second text.
    """
    check_text(text)
    if pair is not None:
        check_text(pair, "the second text")
    if options.cut == "only_second" and pair is None:
        raise InputError("truncation='only_second' cuts the second text of a pair; there is none")
    most = min(limit, options.max_length or limit)
    found = _run(tokenizer, text, pair, options.add_special_tokens)
    _check_left(found, pair)
    if len(found) > most:
        check_length(len(found), most if options.cut is None else len(found))
        _check_asked(len(found), limit, options.max_length)
        found = _cut(tokenizer, text, pair, most, options)
    return found


def _check_asked(count: int, limit: int, asked: int | None) -> None:
    if asked is not None and asked > limit:
        raise InputError(
            f"the text has {count} tokens, {limit} are the most, and max_length={asked} asks for "
            f"more; leave it out to classify the beginning of the text"
        )


def _cut(tokenizer: Any, text: str, pair: str | None, most: int, options: TokenOptions) -> Tokens:
    cut = {"truncation": options.cut, "max_length": most}
    try:
        found = _run(tokenizer, text, pair, options.add_special_tokens, **cut)
    except Exception as error:  # what tokenizers raises where one text is too short to be cut
        raise _uncut(pair, most, options) from error
    if len(found) > most:
        raise _uncut(pair, most, options)
    _check_left(found, pair, f"when it is cut to {most} tokens")
    return found


def _uncut(pair: str | None, most: int, options: TokenOptions) -> InputError:
    what = "this text" if pair is None else "this pair"
    cures = ["raise max_length"] if options.max_length is not None else []
    cures += ["pass truncation=True to cut both texts"] if options.cut != "longest_first" else []
    return InputError(
        f"truncation={options.truncation!r} cannot cut {what} to {most} tokens: what may be cut is "
        f"shorter than what has to go; {' or '.join(cures) or 'shorten it'}"
    )


def _run(tokenizer: Any, text: str, pair: str | None, special: bool, **cut: Any) -> Tokens:
    fast = bool(getattr(tokenizer, "is_fast", False))
    out = tokenizer(
        text,
        pair,
        add_special_tokens=special,
        padding=False,
        return_special_tokens_mask=True,
        return_offsets_mapping=fast,
        verbose=False,
        **({"truncation": False} | cut),
    )
    ids = out["input_ids"]
    return Tokens(
        ids=tuple(ids),
        segments=tuple(out.get("token_type_ids") or [0] * len(ids)),
        special=tuple(map(bool, out["special_tokens_mask"])),
        spans=tuple((begin, end) for begin, end in out["offset_mapping"]) if fast else None,
        texts=tuple(out.sequence_ids(0)) if fast else None,
    )


def tokens_of(encoding: Encoding, pair: str | None, *, segments: bool) -> Tokens:
    """The same of an encoding of the ``tokenizers`` library.

    Args:
        encoding: not padded, not cut.
        pair: the second text, if there was one.
        segments: whether the model is told of segments, see
            :func:`thex_hf.tokens.options.told_of_segments`.

    Raises:
        InputError: nothing is left of a text.
    """
    found = Tokens(
        ids=tuple(encoding.ids),
        segments=tuple(encoding.type_ids if segments else [0] * len(encoding.ids)),
        special=tuple(map(bool, encoding.special_tokens_mask)),
        spans=tuple(encoding.offsets),
        texts=tuple(encoding.sequence_ids),
    )
    _check_left(found, pair)
    return found


def _check_left(found: Tokens, pair: str | None, when: str = "after tokenising") -> None:
    """Refuse a text of which only added tokens are left: the model would be asked about nothing.

    Raises:
        InputError: says which text.
    """
    own: Sequence[int | None] = found.texts or [None if s else 0 for s in found.special]
    wanted = {0: "the text"} | ({1: "the second text"} if pair is not None and found.texts else {})
    for number, name in wanted.items():
        if number not in own:
            raise InputError(
                f"nothing is left of {name} {when}: the tokenizer knows none of its characters, or "
                f"drops them; there is nothing to classify"
                if when == "after tokenising"
                else f"nothing is left of {name} {when}; there is nothing to classify"
            )


def embed_rows(
    words: NDArray[Any],
    segments: NDArray[Any],
    positions: NDArray[Any],
    norm: tuple[NDArray[Any], NDArray[Any], float],
    project: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Array:
    """Add up rows of the three tables, norm them and perhaps project them, in float64.

    Args:
        words: ``(n, e)``, of the tokens.
        segments: ``(n, e)``, of their segments.
        positions: ``(n, e)``, of their places.
        norm: weight ``(e,)``, bias ``(e,)`` and epsilon.
        project: weight ``(d, e)`` and bias ``(d,)`` of the map to the hidden size.

    Returns:
        ``(n, d)``.
    """
    total = _wide(words) + _wide(segments) + _wide(positions)
    centred = total - total.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + norm[2])
    out: Array = centred / deviation * _wide(norm[0]) + _wide(norm[1])
    if project is not None:
        out = out @ _wide(project[0]).T + _wide(project[1])
    return out


def _wide(values: NDArray[Any]) -> Array:
    return np.ascontiguousarray(values, dtype=np.float64)
