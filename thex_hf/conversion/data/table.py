"""The labelled texts made of a table, and which of its rows can be used."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from thex_hf._choices import check_on_error
from thex_hf.conversion.data.origin import Origin
from thex_hf.tables.table import Place as Place
from thex_hf.tables.table import Table as Table
from thex_hf.tables.table import row_error as row_error

WORD = "word"
SURROGATE = re.compile("[\ud800-\udfff]")
RowErrorFactory = Callable[[int, str], Exception]
"""Makes the error for a row, from its index and what is wrong with it."""


@dataclass(frozen=True)
class Skipped:
    """A row that was left out, and why."""

    place: Place
    reason: str

    def __str__(self) -> str:
        line = "" if self.place.line is None else f" (line {self.place.line})"
        return f"row {self.place.row}{line} {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"row": self.place.row, "line": self.place.line, "reason": self.reason}


def why_unusable(text: Any, what: str = "text") -> str | None:
    """Why a value cannot be used as a text, to be read after "row 3 "; None if it can.

    Args:
        text: any value.
        what: what to call it.
    """
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return f"has no {what}, got {text!r}"
    if not isinstance(text, str):
        return f"should have a {what} (str), got {text!r} ({type(text).__name__})"
    if not text.strip():
        return f"has an empty {what}"
    if what != WORD and all(map(_invisible, text)):
        return (
            f"has a {what} of characters that cannot be seen ({text[:10]!r}), as if it were empty"
        )
    if SURROGATE.search(text):
        return f"has a {what} with half of a character (a lone surrogate), which no encoding has"
    return None


def _invisible(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) in ("Cf", "Cc")


def select_usable(
    reasons: Sequence[str | None], source: str, places: Sequence[Place], on_error: str
) -> tuple[list[int], tuple[Skipped, ...]]:
    """Which rows can be used, and what is left out.

    Args:
        reasons: for each row why its text cannot be used, or None.
        source: what to call the data in a message.
        places: of each row.
        on_error: ``raise`` or ``skip``.

    Raises:
        DataError: with ``raise``, a text cannot be used; with ``skip``, none can.
    """
    check_on_error(on_error)
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    skipped = tuple(
        Skipped(place, reason)
        for place, reason in zip(places, reasons, strict=True)
        if reason is not None
    )
    if skipped and (on_error == "raise" or not kept):
        more = f", and {len(skipped) - 1} rows more cannot be used" if len(skipped) > 1 else ""
        raise row_error(source, skipped[0].place, f"{skipped[0].reason}{more}; mend or remove it")
    return kept, skipped


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, their second halves where there are pairs, and their labels.

    ``kind`` is one of :data:`thex_hf.conversion.data.labels.KINDS` and says what ``labels`` are:
    class ids; numbers (then ``label_names`` is None); for each text a tuple of class ids; or, with
    ``words``, a class id for each word. ``places`` says where the texts stand in their source,
    ``skipped`` which were left out, and ``origin`` what a card may say of that source. ``declared``
    are the names that a data set gives to classes for which ``label_names`` has none but
    ``LABEL_0`` and so on.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[Any, ...]
    label_names: tuple[str, ...] | None
    kind: str = ""
    words: tuple[tuple[str, ...], ...] | None = None
    places: tuple[Place, ...] = field(default=(), compare=False, repr=False)
    skipped: tuple[Skipped, ...] = field(default=(), compare=False)
    declared: tuple[str, ...] | None = field(default=None, compare=False)
    origin: Origin = field(default=Origin(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.kind:
            object.__setattr__(self, "kind", "numbers" if self.label_names is None else "classes")
        if len(self.places) != len(self.texts):
            places = tuple(Place(row) for row in range(1, len(self.texts) + 1))
            object.__setattr__(self, "places", places)

    def __len__(self) -> int:
        return len(self.texts)

    def pick(self, rows: Sequence[int]) -> LabelledTexts:
        """Return a copy with some of the texts."""
        return replace(
            self,
            texts=tuple(self.texts[i] for i in rows),
            pairs=None if self.pairs is None else tuple(self.pairs[i] for i in rows),
            labels=tuple(self.labels[i] for i in rows),
            words=None if self.words is None else tuple(self.words[i] for i in rows),
            places=tuple(self.places[i] for i in rows),
        )
