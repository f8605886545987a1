"""Open the model to convert and the texts to convert it with, and see that they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from thex_hf.conversion.data import LabelledTexts, read_texts
from thex_hf.conversion.labels import PROBLEMS
from thex_hf.conversion.naming import aligned, checked
from thex_hf.conversion.options import ConversionOptions
from thex_hf.conversion.sources import Source, load_source
from thex_hf.conversion.sources.files import read_config
from thex_hf.conversion.sources.registry import family_of, head_of
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertConfig

Data = str | Path | LabelledTexts


def open_both(
    source: str | Path,
    train: Data,
    dev: Data,
    options: ConversionOptions,
    task: str | None,
    pooling: str | None,
) -> tuple[Source, list[LabelledTexts]]:
    """Load the source and read both sets of texts, labels matched to the model's."""
    if not options.fine_tuning.epochs or _fits(source, train):
        found = load_source(source, task=task, pooling=pooling)
        names = _names(found)
        own = _read(train, "train", found, names)
        return found, [own, _like(own, dev, found, names)]
    if isinstance(train, LabelledTexts):
        first = checked(train)
    else:
        first = read_texts(train, split="train", regression=None)
    names = first.label_names
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)  # of a fresh classifier
        found = load_source(
            source,
            task=task or ("tokens" if first.kind == "tags" else "sequence"),
            num_labels=1 if names is None else len(names),
            id2label=None if names is None else dict(enumerate(names)),
            problem_type=PROBLEMS.get(first.kind),
            pooling=pooling,
        )
    return found, [first, _read(dev, "validation", found, names)]


def positions_of(source: Source) -> int:
    """How many tokens a source has positions for."""
    config = source.model.config
    if isinstance(config, ThexBertConfig):
        return int(config.max_position_embeddings)
    return int(config.max_position_embeddings - family_of(config).position_offset)


def _fits(source: str | Path, train: Data) -> bool:
    """Whether a source has a classifier for just the labels of the data."""
    config = read_config(source)
    table = config.get("id2label") or {}
    if head_of(config, str(source)) == "headless" or not table:
        return False
    names = [str(name) for _, name in sorted(table.items(), key=lambda item: int(item[0]))]
    try:
        if isinstance(train, LabelledTexts):
            aligned(train, names)
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
    found = _read(dev, "validation", source, first.declared or names)
    return found if names is None else replace(found, label_names=tuple(names))


def _names(source: Source) -> Sequence[str] | None:
    """The labels of the model, in order; None for one number."""
    config = source.model.config
    if source.task == "sequence" and config.num_labels == 1:
        return None
    return [config.id2label[i] for i in range(len(config.id2label))]


def _read(data: Data, split: str, source: Source, names: Sequence[str] | None) -> LabelledTexts:
    """Read labelled texts and match their labels to the model's."""
    if isinstance(data, LabelledTexts):
        found = checked(data)
    else:
        found = read_texts(data, split=split, label_names=names, regression=names is None)
    wants = "tags" if source.task == "tokens" else None
    several = source.model.config.problem_type == "multi_label_classification"
    if (found.kind == "tags") != (wants == "tags") or (several and found.kind != "multi"):
        kind = (
            "tags for each word" if wants else "several labels a text" if several else "one label"
        )
        raise ConversionError(
            f"the model gives {kind}, and the data have {found.kind}: convert a model that was "
            "fine-tuned on this task, or give data with column tags, labels or label."
        )
    count = 1 if found.label_names is None else len(found.label_names)
    if count != source.model.config.num_labels:
        raise ConversionError(
            f"the model has {source.model.config.num_labels} labels and the data have {count}: "
            "convert a model that was fine-tuned on this task."
        )
    return aligned(found, names or ())
