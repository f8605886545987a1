"""Metrics by name: which there are, what kind of label each scores, and GLUE's choice of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from thex_hf.errors import OptionError
from thex_hf.evaluation.base import MULTILABEL, evaluate
from thex_hf.evaluation.metrics import (
    F1,
    Accuracy,
    Agreement,
    MatthewsCorrelation,
    Pearson,
    PearsonSpearman,
    SequenceF1,
    Spearman,
)

KINDS = ("classes", "numbers", "multi", "tags", "logits")
"""What a metric scores: one class a text, a number, any number of classes, a tag for each word,
or the logits of two models."""

_OFFERED: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "accuracy": (Accuracy, ("classes", "multi")),
    "f1": (F1, ("classes", "multi")),
    "f1_macro": (partial(F1, "macro"), ("classes", "multi")),
    "f1_micro": (partial(F1, "micro"), ("classes", "multi")),
    "f1_weighted": (partial(F1, "weighted"), ("classes", "multi")),
    "matthews_correlation": (MatthewsCorrelation, ("classes",)),
    "pearsonr": (Pearson, ("numbers",)),
    "spearmanr": (Spearman, ("numbers",)),
    "pearson_spearman": (PearsonSpearman, ("numbers",)),
    "seqeval": (SequenceF1, ("tags",)),
    "agreement": (Agreement, ("logits",)),
}
GLUE: dict[str, tuple[str, ...]] = {
    "cola": ("matthews_correlation",),
    "sst2": ("accuracy",),
    "mrpc": ("accuracy", "f1"),
    "qqp": ("accuracy", "f1"),
    "stsb": ("pearsonr", "spearmanr"),
    "mnli": ("accuracy",),
    "qnli": ("accuracy",),
    "rte": ("accuracy",),
    "wnli": ("accuracy",),
}
"""What GLUE (Wang et al. 2019, section 3) scores each task by."""

DEFAULTS = {
    "classes": ("accuracy",),
    "numbers": ("pearsonr", "spearmanr"),
    "multi": ("f1_micro", "f1_macro"),
    "tags": ("seqeval",),
}
"""What is measured when nobody names a metric."""


def metric_names(kind: str | None = None) -> tuple[str, ...]:
    """The metrics on offer, all or those for one of :data:`KINDS`."""
    return tuple(name for name, (_, kinds) in _OFFERED.items() if kind is None or kind in kinds)


def resolve(name: str, kind: str | None = None) -> tuple[str, ...]:
    """The metrics that a name stands for: itself, or those of a GLUE task.

    Args:
        name: one of :func:`metric_names` (``f1-macro`` is ``f1_macro``), or a task such as
            ``mrpc`` or ``glue/mrpc``.
        kind: one of :data:`KINDS` to be scored; None: not known.

    Raises:
        OptionError: no such metric, or none for that kind; lists what is on offer.
    """
    plain = name.strip().lower().replace("-", "_")
    task = plain.removeprefix("glue/").replace("_", "")
    names = (plain,) if plain in _OFFERED else GLUE.get(task, ())
    if not names:
        choices = [*metric_names(kind), *GLUE]
        near = difflib.get_close_matches(plain, choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise OptionError(
            f"no metric {name!r}{hint} On offer: {', '.join(metric_names(kind))}; or a GLUE "
            f"task: {', '.join(GLUE)}"
        )
    for one in names:
        kinds = _OFFERED[one][1]
        if kind is not None and kind not in kinds:
            raise OptionError(
                f"metric {one!r} scores {' or '.join(kinds)}, the data and the model have {kind}; "
                f"use {', '.join(metric_names(kind))}"
            )
    return names


def load_metric(name: str, *, multilabel: bool = False) -> Any:
    """A metric by its name, as an object of evaluate.

    Args:
        name: as for :func:`resolve`.
        multilabel: a text has any number of classes; predictions and references are then a
            zero or one for each class.

    Returns:
        An ``evaluate.Metric``; for a GLUE task with two metrics, both combined.

    Raises:
        OptionError: no such metric, or it cannot score several classes a text.
    """
    names = resolve(name, "multi" if multilabel else None)
    return load_metrics(names, multilabel=multilabel)


def load_metrics(names: Iterable[str], *, multilabel: bool = False) -> Any:
    """One metric, or several combined, by the names that :func:`resolve` gives."""
    metrics = [_make(name, multilabel) for name in names]
    return metrics[0] if len(metrics) == 1 else evaluate.combine(metrics)


def _make(name: str, multilabel: bool) -> Any:
    factory, _ = _OFFERED[name]
    return factory(config_name=MULTILABEL) if multilabel else factory()
