"""Labelled texts: what every reader gives and every conversion takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from thex_hf.conversion.data.table import Place, Skipped


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, their second halves where there are pairs, and their labels.

    ``kind`` is one of :data:`thex_hf.conversion.data.labels.KINDS` and says what ``labels`` are:
    class ids; numbers (then ``label_names`` is None); for each text a tuple of class ids; or, with
    ``words``, a class id for each word. ``places`` says where the texts stand in their source and
    ``skipped`` which were left out. ``declared`` are the names that a data set gives to classes
    for which ``label_names`` has none but ``LABEL_0`` and so on.
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

    def with_skipped(self, skipped: Sequence[Skipped]) -> LabelledTexts:
        """Return a copy that says of more rows that they were left out."""
        return replace(self, skipped=(*self.skipped, *skipped))
