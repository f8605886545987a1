"""The texts to score a model on: which labels they need, and which of them to take."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from thex_hf.conversion.data import LabelledTexts, read_texts
from thex_hf.conversion.labels import class_ids, numbers
from thex_hf.errors import InputError, OptionError
from thex_hf.tokens.words import join_words

Data: TypeAlias = str | os.PathLike[str] | LabelledTexts | Iterable[Mapping[str, Any]]


def kind_of(config: Any, every_token: bool = False) -> str:
    """What a model of that configuration answers: ``classes``, ``numbers``, ``multi`` or ``tags``.

    Args:
        config: of the model.
        every_token: the model classifies tokens, not texts.
    """
    if every_token:
        return "tags"
    if config.problem_type == "regression" or config.num_labels == 1:
        return "numbers"
    return "multi" if config.problem_type == "multi_label_classification" else "classes"


def label_names(config: Any) -> list[str]:
    """Names of a model's classes, in the order of its logits."""
    return [str(config.id2label[i]) for i in range(config.num_labels)]


def read(data: Data, config: Any, split: str, *, every_token: bool = False) -> LabelledTexts:
    """Texts whose labels fit the model.

    Args:
        data: a file or the name of a data set, see
            :func:`thex_hf.conversion.data.read_texts`; texts read before, whose class names
            are the model's in any order, or else stand for its classes by position; or rows with
            ``text``, perhaps ``text_pair``, and ``label`` (a class id or name, a number for a
            regression model, a list for one with several classes a text); or, for a model that
            classifies tokens, ``tokens`` and ``tags``.
        config: of the model.
        split: which split of a named data set.
        every_token: the model classifies tokens.

    Raises:
        ConversionError: missing file or column, no rows, or a label that fits nothing.
        InputError: labels of another kind than the model's, an empty text, or odd rows.
    """
    kind = kind_of(config, every_token)
    if isinstance(data, LabelledTexts):
        found = data
    elif isinstance(data, str | os.PathLike):
        found = read_texts(
            Path(data) if isinstance(data, os.PathLike) else data,
            split=split,
            label_names=None if kind == "numbers" else label_names(config),
            regression=kind == "numbers",
            one_class=True,
        )
    else:
        found = _from_rows(list(data), label_names(config), kind)
    if found.kind != kind:
        raise InputError(
            f"the model answers with {kind}, the labels of the data are {found.kind}; take data "
            f"of the model's task"
        )
    _check(found)
    return _aligned(found, label_names(config))


def spread(texts: LabelledTexts, limit: int | None) -> LabelledTexts:
    """At most ``limit`` texts, spread evenly over all, in their order; all if None.

    Raises:
        OptionError: ``limit`` is less than one.
    """
    if limit is None:
        return texts
    if limit < 1:
        raise OptionError(f"limit must be at least 1, got {limit}")
    total = len(texts)
    rows = [i * total // limit for i in range(limit)] if limit < total else range(total)
    return replace(
        texts,
        texts=tuple(texts.texts[i] for i in rows),
        pairs=None if texts.pairs is None else tuple(texts.pairs[i] for i in rows),
        labels=tuple(texts.labels[i] for i in rows),
        words=None if texts.words is None else tuple(texts.words[i] for i in rows),
    )


def inputs_of(texts: LabelledTexts) -> list[Any]:
    """What the pipeline takes: texts, or dictionaries where there are pairs.

    Words are joined by blanks, as they are for training.
    """
    if texts.words is not None:
        return [join_words(own)[0] for own in texts.words]
    if texts.pairs is None:
        return list(texts.texts)
    return [
        {"text": first, "text_pair": second}
        for first, second in zip(texts.texts, texts.pairs, strict=True)
    ]


def _aligned(texts: LabelledTexts, names: list[str]) -> LabelledTexts:
    """Class ids in the order of the model's names."""
    own = texts.label_names
    if own is None or list(own) == names:
        return texts
    if len(own) > len(names):
        raise InputError(
            f"the model has the labels {', '.join(names)}, the data have {', '.join(own)}; take "
            "data of the model's task"
        )
    if not set(own) <= set(names):
        return texts
    place = [names.index(name) for name in own]
    one_each = texts.kind == "classes"
    labels = tuple(place[x] if one_each else tuple(place[i] for i in x) for x in texts.labels)
    return replace(texts, labels=labels, label_names=tuple(names))


def _check(texts: LabelledTexts) -> None:
    if not len(texts):
        raise InputError("there are no texts to score; the data are empty")
    for number, text in enumerate(texts.texts, start=1):
        if not text.strip():
            raise InputError(f"row {number} has an empty text; remove it from the data")


def _from_rows(rows: Sequence[Any], names: Sequence[str], kind: str) -> LabelledTexts:
    text, label = ("tokens", "tags") if kind == "tags" else ("text", "label")
    for row in rows:
        if not isinstance(row, Mapping) or not {text, label} <= {*row}:
            raise InputError(
                f"each row should be a dictionary with {text!r} and {label!r}, got {row!r}"
            )
    paired = bool(rows) and rows[0].get("text_pair") is not None
    words = tuple(_words(row[text]) for row in rows) if kind == "tags" else None
    for own, row in zip(words or (), rows, strict=bool(words)):
        if len(own) != len(row[label]):
            raise InputError(f"each row should have one tag for each word, got {row!r}")
    return LabelledTexts(
        texts=tuple(str(row[text]) for row in rows)
        if words is None
        else tuple(" ".join(own) for own in words),
        pairs=tuple(str(row["text_pair"]) for row in rows) if paired else None,
        labels=tuple(_labels([row[label] for row in rows], names, kind)),
        label_names=None if kind == "numbers" else tuple(names),
        kind=kind,
        words=words,
    )


def _words(entry: Any) -> tuple[str, ...]:
    return tuple(entry.split() if isinstance(entry, str) else map(str, entry))


def _labels(raw: Sequence[Any], names: Sequence[str], kind: str) -> Sequence[Any]:
    if kind == "numbers":
        return numbers(raw, "the rows")
    if kind == "classes":
        return class_ids([str(x) for x in raw], names, "the rows")
    return [tuple(class_ids([str(x) for x in own], names, "the rows")) for own in raw]
