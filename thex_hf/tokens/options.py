"""Options of tokenising, how many tokens a text may have, and what a tokenizer's files say.

Options are spelled as in transformers. ``tokenizer_config.json`` adds to ``tokenizer.json``, and
the two should agree.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thex_hf.circuits.shape import BUCKETS
from thex_hf.errors import ConversionError, InputError, OptionError

CUTS = ("longest_first", "only_first", "only_second", "do_not_truncate")
PADDINGS = ("longest", "max_length", "do_not_pad")
LONGEST = BUCKETS[-1]
"""Tokens of the longest text that a circuit takes, special tokens included."""

CUT = (
    "shorten it, or pass truncation=True to classify its beginning, or window= to classify all of "
    "it in windows"
)
CONFIG_NAME = "tokenizer_config.json"
SEGMENTS = "token_type_ids"
TOLD = ("Bert", "Electra")
"""Beginnings of the tokenizer classes whose models are told of segments, unless the file says."""

OPEN = "PreTrainedTokenizerFast"
"""Transformers 4 tells the models of such tokenizers of segments, and transformers 5 does not."""

SAME = {
    "add_prefix_space": ("ByteLevel", "add_prefix_space"),
    "do_lower_case": ("BertNormalizer", "lowercase"),
    "strip_accents": ("BertNormalizer", "strip_accents"),
    "tokenize_chinese_chars": ("BertNormalizer", "handle_chinese_chars"),
}
"""Settings, and the part of a tokenizer and its field that should say the same."""

AS_IT_IS = "TokenizersBackend"
"""The class whose tokenizers are not changed."""


@dataclass(frozen=True)
class TokenOptions:
    """What to do with a text on its way to tokens.

    Args:
        truncation: cut a text that is too long: True or ``longest_first``, ``only_first`` or
            ``only_second`` of a pair; False, None or ``do_not_truncate`` to refuse it.
        max_length: the most tokens; None for as many as model and circuit take.
        padding: taken and of no effect: each text is computed by itself.
        add_special_tokens: False leaves out ``[CLS]`` and the like.

    Raises:
        OptionError: a value that is not on offer.
    """

    truncation: Any = False
    max_length: int | None = None
    padding: Any = False
    add_special_tokens: bool = True

    def __post_init__(self) -> None:
        for name, offered in (("truncation", CUTS), ("padding", PADDINGS)):
            value = getattr(self, name)
            if not (value is None or isinstance(value, bool) or value in offered):
                near = difflib.get_close_matches(str(value), offered, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise OptionError(
                    f"{name} must be True, False or one of {', '.join(offered)}, got "
                    f"{value!r}{hint}"
                )
        most = self.max_length
        if most is not None and (type(most) is not int or most < 1):
            raise OptionError(f"max_length must be a positive whole number, got {most!r}")
        if not isinstance(self.add_special_tokens, bool):
            raise OptionError(
                f"add_special_tokens must be True or False, got {self.add_special_tokens!r}"
            )

    @property
    def cut(self) -> str | None:
        """How to cut a text that is too long; None to refuse it."""
        if self.truncation in (None, False, "do_not_truncate"):
            return None
        if self.truncation is True:
            return CUTS[0]
        return str(getattr(self.truncation, "value", self.truncation))


def limit_of(positions: int, most: float | None = None, longest: int = LONGEST) -> int:
    """The most tokens that circuit, model and tokenizer take.

    Args:
        positions: rows of the model's position table.
        most: the tokenizer's ``model_max_length``; it has none if that is None or not positive.
        longest: tokens that the circuit takes.
    """
    own = most if most is not None and most >= 1 else longest
    return int(min(longest, positions, own))


def check_length(count: int, limit: int, cure: str = CUT) -> None:
    """Refuse a text with more tokens than there may be.

    Raises:
        InputError: says how many there are and what to do.
    """
    if count > limit:
        raise InputError(f"the text has {count} tokens, {limit} are the most; {cure}")


def read_settings(folder: Path) -> dict[str, Any]:
    """The file's entries; none where there is no file.

    Raises:
        ConversionError: it is damaged.
    """
    path = folder / CONFIG_NAME
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
