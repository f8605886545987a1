"""Open the model to convert and the texts to convert it with, as tokens that fit it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from thex_hf.conversion.data.labels import PROBLEMS
from thex_hf.conversion.data.naming import align_labels, select_texts
from thex_hf.conversion.data.origin import OWN
from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.conversion.digests import (
    deciding_options,
    encoded_digest,
    json_digest,
    package_facts,
    source_digest,
    texts_digest,
)
from thex_hf.conversion.options import ConversionOptions
from thex_hf.conversion.sources import Source, base_of, family_of, load_source
from thex_hf.conversion.sources.card import card_fields
from thex_hf.conversion.sources.families import DISTANCE_BUCKETS
from thex_hf.conversion.sources.reading import read_config
from thex_hf.conversion.sources.registry import head_of, names_of
from thex_hf.conversion.training.batches import Encoded, encode
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertConfig
from thex_hf.modeling.opening import check_name, expand
from thex_hf.tasks import SOURCES, TEXT, TOKEN

Data = str | Path | LabelledTexts


@dataclass(frozen=True)
class ConversionInputs:
    """A source and texts, read and checked, and what they were read for.

    Args:
        name: of the source, as it was given.
        source: the loaded model with its tokenizer.
        train: tokenised texts to train with.
        dev: those to measure the score on.
        options: what is to be done.
        facts: digests of all but the options that decides the result, by name; see
            :meth:`thex_hf.conversion.checkpoint.Checkpoint.open`.
        digest: one of the facts and the options.
        dev_data: where the development texts are from, as a card may say it.
        card: fields of the model card that are the source's; see
            :func:`thex_hf.conversion.sources.card.card_fields`.
    """

    name: str
    source: Source
    train: Encoded
    dev: Encoded
    options: ConversionOptions
    facts: dict[str, Any]
    digest: str
    dev_data: dict[str, Any]
    card: dict[str, Any]


def read_paths(source: str | Path, train: Data, dev: Data) -> dict[str, str]:
    """Where all that is read may lie, for :func:`thex_hf.conversion.output.check_output`."""
    name = expand(source)
    paths = {"source": name}
    base = base_of(name) if os.path.isdir(name) else None
    if base is not None:
        paths["base model of the source"] = expand(base)
    for what, data in (("training texts", train), ("development texts", dev)):
        if not isinstance(data, LabelledTexts):
            paths[what] = expand(data)
    return paths


def open_inputs(
    source: str | Path,
    train: Data,
    dev: Data,
    options: ConversionOptions,
    task: str | None,
    pooling: str | None,
) -> ConversionInputs:
    """Load the source, read and tokenise both sets of texts, and digest all of it.

    Raises:
        ConversionError: something is missing, is not supported, or does not fit together.
    """
    name = check_name(source)
    train, dev = (
        data if isinstance(data, LabelledTexts) else expand(data) for data in (train, dev)
    )
    opened, texts = open_source_and_texts(name, train, dev, options, task, pooling)
    check_form(opened, options)
    first, second = (tokenise(opened, part, options.max_length) for part in texts)
    local = os.path.isdir(name)
    facts = {
        "source": os.path.realpath(name) if local else name,
        "weights": source_digest(opened),
        "data": texts_digest(texts),
        "tokens": [encoded_digest(part) for part in (first, second)],
        "version": package_facts(),
    }
    decides = {key: value for key, value in facts.items() if key != "source"}
    digest = json_digest([decides, deciding_options(options)])
    trained_on = [texts[0].origin.type] if texts[0].origin.type != OWN else []
    return ConversionInputs(
        name=str(facts["source"]),
        source=opened,
        train=first,
        dev=second,
        options=options,
        facts=facts,
        digest=digest,
        dev_data=texts[1].origin.to_json(),
        card=card_fields(name, trained_on),
    )


def check_form(source: Source, options: ConversionOptions) -> None:
    """Refuse a form that a source cannot take.

    Raises:
        ConversionError: it adds to scores by distance, and the form is not the normalised one.
    """
    if getattr(source.model.config, DISTANCE_BUCKETS, None) and options.form != "normalised":
        raise ConversionError(
            f"a model that adds to attention scores by the distance of two tokens (MPNet) can be "
            f"converted to normalised form alone, and form is {options.form!r}: convert it with "
            f"--form normalised, for protocol prepared."
        )


def open_source_and_texts(
    source: str | Path,
    train: Data,
    dev: Data,
    options: ConversionOptions,
    task: str | None,
    pooling: str | None,
) -> tuple[Source, list[LabelledTexts]]:
    """Load the source and read both sets of texts, labels matched to the model's."""
    if not options.fine_tuning.epochs or _fits(source, train):
        opened = load_source(source, task=task, pooling=pooling)
        names = _names(opened)
        texts = _read(train, "train", opened, names)
        return opened, [texts, _like(texts, dev, opened, names)]
    if isinstance(train, LabelledTexts):
        first = select_texts(train)
    else:
        first = read_texts(train, split="train", regression=None)
    names = first.label_names
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)  # of a fresh classifier
        opened = load_source(
            source,
            task=task or (TOKEN if first.kind == "tags" else TEXT).source,
            num_labels=1 if names is None else len(names),
            id2label=None if names is None else dict(enumerate(names)),
            problem_type=PROBLEMS.get(first.kind),
            pooling=pooling,
        )
    return opened, [first, _read(dev, "validation", opened, names)]


def _fits(source: str | Path, train: Data) -> bool:
    """Whether a source has a classifier for just the labels of the data."""
    if base_of(source) is not None:
        return True  # it has a classifier, which no training of ours may replace
    config = read_config(source)
    if head_of(config, str(source)) == "headless" or not config.get("id2label"):
        return False
    try:
        names = names_of(config["id2label"], str(source))
    except ConversionError:
        return False
    try:
        if isinstance(train, LabelledTexts):
            align_labels(train, names)
            return len(train.label_names or (0,)) == len(names)
        read_texts(train, label_names=names, regression=len(names) == 1)
    except ConversionError:
        return False
    return True


def _like(
    first: LabelledTexts, dev: Data, source: Source, names: Sequence[str] | None
) -> LabelledTexts:
    """Read development texts so that their classes are those of the training texts.

    Where the model has no names for its classes and the training texts have, those count.
    """
    texts = _read(dev, "validation", source, first.declared or names)
    return texts if names is None else replace(texts, label_names=tuple(names))


def _names(source: Source) -> Sequence[str] | None:
    """The labels of the model, in order; None for one number."""
    config = source.model.config
    several = config.problem_type == PROBLEMS["multi"]
    if source.task == TEXT.source and config.num_labels == 1 and not several:
        return None
    return [config.id2label[i] for i in range(len(config.id2label))]


def _read(data: Data, split: str, source: Source, names: Sequence[str] | None) -> LabelledTexts:
    """Read labelled texts and match their labels to the model's."""
    if isinstance(data, LabelledTexts):
        texts = select_texts(data)
    else:
        texts = read_texts(data, split=split, label_names=names, regression=names is None)
    wants = "tags" if SOURCES[source.task].every_token else None
    several = source.model.config.problem_type == "multi_label_classification"
    if (texts.kind == "tags") != (wants == "tags") or (several and texts.kind != "multi"):
        kind = (
            "tags for each word" if wants else "several labels a text" if several else "one label"
        )
        raise ConversionError(
            f"the model gives {kind}, and the data have {texts.kind}: convert a model that was "
            "fine-tuned on this task, or give data with column tags, labels or label."
        )
    count = 1 if texts.label_names is None else len(texts.label_names)
    if count != source.model.config.num_labels:
        raise ConversionError(
            f"the model has {source.model.config.num_labels} labels and the data have {count}: "
            "convert a model that was fine-tuned on this task."
        )
    return align_labels(texts, names or ())


MULTIPLE = 4
"""Batches are padded to a multiple of it, which must not pass the last position either."""


def positions_of(source: Source) -> int:
    """How many tokens a source has positions for."""
    config = source.model.config
    if isinstance(config, ThexBertConfig):
        return int(config.max_position_embeddings)
    return int(config.max_position_embeddings - family_of(config).position_offset)


def tokenise(source: Source, data: LabelledTexts, max_length: int) -> Encoded:
    """Tokenise texts with a source's tokenizer.

    A model with one kind of segment is given zeros for segments whatever its tokenizer says, as
    the converted model gives itself.

    Args:
        source: tokenizer and model.
        data: the texts.
        max_length: where they are cut, in tokens, if the model has so many positions.

    Raises:
        ConversionError: the model has too few positions for any text, or no embedding for a token
            or a segment that the tokenizer gives.
    """
    encoded = encode(source.tokenizer, data, _length(source, data, max_length))
    config = source.model.config
    kinds = int(getattr(config, "type_vocab_size", 1))
    if kinds == 1:
        none = tuple(torch.zeros_like(one) for one in encoded.segments)
        encoded = replace(encoded, segments=none)
    for what, parts, rows in (
        ("tokens", encoded.ids, config.vocab_size),
        ("segments", encoded.segments, kinds),
    ):
        largest = max((int(part.max()) for part in parts if len(part)), default=0)
        if largest >= rows:
            raise ConversionError(
                f"the tokenizer gives {what} up to number {largest} and the model has embeddings "
                f"for 0 to {rows - 1}: they do not belong together."
            )
    return encoded


def _length(source: Source, data: LabelledTexts, max_length: int) -> int:
    """Where texts are cut.

    Raises:
        ConversionError: nothing of a text would be left.
    """
    positions = positions_of(source)
    if positions < max_length:
        positions -= positions % MULTIPLE
    length = min(max_length, positions)
    special = int(source.tokenizer.num_special_tokens_to_add(pair=data.pairs is not None))
    least = special + (1 if data.pairs is None else 2)
    if length < least:
        raise ConversionError(
            f"a text needs at least {least} tokens, {special} special ones included, and only "
            f"{length} are allowed: max_length is {max_length}, and the model has positions for "
            f"{positions_of(source)}."
        )
    return length
