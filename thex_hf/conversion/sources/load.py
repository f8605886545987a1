"""Open the model to convert, or say why it cannot be converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from thex_hf._choices import check_source
from thex_hf.conversion.sources.adapter import ADVICE, Adapter, find_adapter, merge
from thex_hf.conversion.sources.families import HEADLESS, SEQUENCE
from thex_hf.conversion.sources.reading import (
    check_tensors,
    load_model,
    optional_file,
    read_config,
    read_pooling,
)
from thex_hf.conversion.sources.registry import (
    check_labels,
    get_family,
    head_of,
    label_fields,
    names_of,
)
from thex_hf.conversion.sources.start import fresh_model
from thex_hf.errors import ConversionError
from thex_hf.modeling.guards import refuse_pickle
from thex_hf.modeling.opening import check_name, open_tokenizer
from thex_hf.tasks import SOURCES

logger = logging.get_logger(__name__)

Labels = Mapping[int, str] | Sequence[str]


@dataclass(frozen=True)
class Source:
    """A model to convert.

    Args:
        model: in evaluation mode, float32; ``model(**source.inputs(batch)).logits``.
        tokenizer: its tokenizer.
        task: ``"sequence"`` or ``"tokens"``.
        pooling: ``"cls"`` or ``"mean"``: what the converted classifier of texts should read.
        headless: the classifier is fresh: the model has to be fine-tuned before anything else.
    """

    model: PreTrainedModel
    tokenizer: Any
    task: str
    pooling: str
    headless: bool

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the model takes of ``input_ids``, ``attention_mask``, ``token_type_ids``."""
        names = ("input_ids", "attention_mask")
        segments = getattr(self.model.config, "type_vocab_size", 1) > 1
        return (*names, "token_type_ids") if segments else names

    def inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pick the model's inputs out of a batch."""
        return {name: batch[name] for name in self.input_names if name in batch}


def load_source(
    source: str | Path,
    *,
    task: str | None = None,
    num_labels: int | None = None,
    id2label: Labels | None = None,
    problem_type: str | None = None,
    pooling: str | None = None,
) -> Source:
    """Load a classifier or a bare encoder, and its tokenizer.

    A bare encoder gets a fresh classifier, and so does a checkpoint whose classifier is for
    another task, or for other labels than asked for. The model is then one of ours
    with exact activation, softmax and norms, so its encoder computes the same function. A
    trained classifier keeps its labels and problem type. An adapter of PEFT is merged into its
    base model.

    Args:
        source: folder or Hub name.
        task: ``"sequence"`` or ``"tokens"``; the checkpoint's by default.
        num_labels: how many labels there should be; needed if there is no classifier.
        id2label: their names, in order or by number.
        problem_type: of its task, as in transformers.
        pooling: ``"cls"`` or ``"mean"``; by default that of a sentence-transformers folder,
            else ``"cls"``.

    Raises:
        ConversionError: it cannot be read, is not what is supported, has values that are not
            finite, or has no classifier and ``num_labels`` is not given.
    """
    check_source(task, pooling)
    source = check_name(source)
    adapter = find_adapter(source)
    if adapter is not None:
        return _load_adapter(adapter, task, num_labels, id2label, pooling)
    config = read_config(source)
    head = head_of(config, source)
    refuse_pickle(Path(source))
    task = task or (SEQUENCE if head == HEADLESS else head)
    family = get_family(config["model_type"])
    count = num_labels or (None if id2label is None else len(id2label))
    if head != task and not count:
        raise ConversionError(
            f"{str(source)!r} ({', '.join(config['architectures'])}) has no classifier for task "
            f"{task!r}. Pass --fine-tune with labelled texts to train one, or convert a model "
            "that was fine-tuned on this task."
        )
    if head == task and not count:
        check_labels(config, source)
    model = load_model(source, head if head == task else HEADLESS, family)
    headless = head != task or _other_labels(model.config, count, id2label)
    if headless and head == task:
        model = load_model(source, HEADLESS, family)
    if headless and head != HEADLESS:
        logger.warning("the classifier of %s is for other labels; a fresh one is made", source)
    if pooling is None and not SOURCES[task].every_token and head == HEADLESS:
        pooling = read_pooling(source)
    pooling = pooling or "cls"
    if not headless:
        label_fields(model.config, task)  # or say what is wrong with them
    tokenizer = open_tokenizer(str(source), model.config.vocab_size)
    if headless:
        labels = _labels(count or 0, id2label) | {"problem_type": problem_type}
        model = fresh_model(model, task=task, pooling=pooling, labels=labels)
    return Source(model, tokenizer, task, pooling, headless)


def _other_labels(config: PretrainedConfig, count: int | None, names: Labels | None) -> bool:
    """Whether a trained classifier has another number of labels than wanted, or other names."""
    if count is not None and count != config.num_labels:
        return True
    return names is not None and _table(names) != _table(config.id2label)


def _table(names: Labels) -> dict[int, str]:
    """Labels by number."""
    pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
    return {int(number): str(name) for number, name in pairs}


def _labels(count: int, names: Labels | None) -> dict[str, Any]:
    """The configuration's fields for labels.

    Raises:
        ConversionError: as many names as labels are needed.
    """
    table = _table(names or [f"LABEL_{number}" for number in range(count)])
    if sorted(table) != list(range(count)):
        raise ConversionError(
            f"id2label should name the labels 0 to {count - 1}; got {table}. Name every label once."
        )
    return {"id2label": table, "label2id": {name: number for number, name in table.items()}}


def _load_adapter(
    adapter: Adapter, task: str | None, count: int | None, names: Labels | None, pooling: str | None
) -> Source:
    """Load the base model of an adapter and merge the adapter into it.

    Raises:
        ConversionError: the base model cannot be loaded or is not supported, the classifier is
            for something else than asked for, or the two cannot be merged.
    """
    try:
        base = check_name(adapter.base)
        config = read_config(base)
        head = head_of(config, base)
        refuse_pickle(Path(base))
    except ConversionError as error:
        raise ConversionError(
            f"{adapter.name!r} is an adapter, and its base model cannot be used: {error} {ADVICE}"
        ) from error
    merged_task = adapter.task_on(head)
    if task not in (None, merged_task):
        raise ConversionError(
            f"task should be {merged_task!r}, that of the adapter {adapter.name!r}; got {task!r}."
        )
    family = replace(get_family(config["model_type"]), task=merged_task)
    rows = adapter.count(family.table[-1][0])
    labels: dict[str, Any] = {}
    if optional_file(adapter.name, "config.json"):
        config = read_config(adapter.name)
    if rows is None or rows == len(config.get("id2label") or (0, 0)):
        check_labels(config, adapter.name)
        if config.get("id2label"):
            label_names = names_of(config["id2label"], adapter.name)
            labels = _labels(len(label_names), label_names)
    else:
        labels = _labels(rows, None)
    model = load_model(base, merged_task, family, given=set(adapter.shapes), **labels)
    model = merge(model, adapter).float().eval()
    check_tensors(model, adapter.name)
    if _other_labels(model.config, count or (None if names is None else len(names)), names):
        raise ConversionError(
            f"the classifier of {adapter.name!r} is for other labels than asked for. {ADVICE}"
        )
    whose = adapter.name if optional_file(adapter.name, "tokenizer_config.json") else base
    tokenizer = open_tokenizer(whose, model.config.vocab_size)
    return Source(model, tokenizer, merged_task, pooling or "cls", headless=False)
