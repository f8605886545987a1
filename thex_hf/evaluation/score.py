"""Score a model on labelled texts, in clear, simulated or encrypted, and say on which machine."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from thex_hf._choices import FHE_MODES, one_of
from thex_hf._machine import processor, version_of
from thex_hf.conversion.data.table import Skipped
from thex_hf.evaluation.base import logger
from thex_hf.evaluation.reading import Answers, Data, inputs_of, read, share_interval, spread
from thex_hf.evaluation.registry import DEFAULTS, load_metrics, resolve
from thex_hf.evaluation.runs import costs, count_cut, open_pipeline, run_both, tell

PACKAGES = (
    "thex_hf", "torch", "transformers", "tenseal", "numpy", "evaluate", "datasets",
    "scikit-learn", "scipy", "seqeval",
)  # fmt: skip


def machine_facts() -> dict[str, Any]:
    """Machine and versions, as JSON values; the load is that of the last minute, if known."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
    }


@dataclass(frozen=True)
class Scores:
    """What :func:`evaluate_model` found.

    Args:
        model: name or folder of the model.
        kind: ``classes``, ``numbers`` (regression), ``multi`` (any number of classes a text)
            or ``tags`` (a tag for each word).
        metrics: by name; shares and correlations, not per cent. NaN where not defined.
        clear_metrics: the same of the clear model on the same texts; None if not compared.
        intervals: 95 % intervals (Wilson) of those figures that are a share of texts.
        texts: how many were scored.
        texts_in_data: how many there were, those included that were left out.
        cut: of how many only the beginning was read: 128 tokens, or what the model takes; none
            where there are windows.
        agreement: share of texts (of words, for tags) with the answer of the clear model; None
            if not compared, or if answers are numbers.
        max_logit_difference: largest absolute difference to the clear model's logits.
        speed: seconds, and texts a second, by evaluate's names.
        costs: see :func:`thex_hf.evaluation.runs.costs`.
        entities: for tags, the figures of each type of entity.
        skipped: rows that were left out, with ``on_error="skip"``.
        machine: what it ran on.
    """

    model: str
    kind: str
    metrics: dict[str, float]
    clear_metrics: dict[str, float] | None
    intervals: dict[str, tuple[float, float]]
    texts: int
    texts_in_data: int
    cut: int
    agreement: float | None
    max_logit_difference: float | None
    speed: dict[str, float]
    costs: dict[str, Any]
    entities: dict[str, dict[str, float]] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    machine: dict[str, Any] = field(default_factory=machine_facts)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes None."""
        clear = self.clear_metrics
        return {
            "model": self.model,
            "kind": self.kind,
            "metrics": _without_nan(self.metrics),
            "entities": self.entities,
            "clear_metrics": None if clear is None else _without_nan(clear),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "texts": self.texts,
            "texts_in_data": self.texts_in_data,
            "cut": self.cut,
            "skipped": [row.to_json() for row in self.skipped],
            "agreement": self.agreement,
            "max_logit_difference": self.max_logit_difference,
            **self.speed,
            "thex": self.costs,
            "machine": self.machine,
        }


def evaluate_model(
    model: Any,
    data: Data,
    *,
    tokenizer: Any = None,
    split: str = "validation",
    fhe: str = "simulate",
    limit: int | None = None,
    metrics: Iterable[str] | None = None,
    batch_size: int | None = None,
    compare: bool = True,
    on_error: str = "raise",
    window: int | None = None,
    stride: int | None = None,
    pool: str | None = None,
    **options: Any,
) -> Scores:
    """Score a model on labelled texts.

    Args:
        model: a folder or Hub name, a model (with ``tokenizer``), a pipeline, or None for the
            bundled model.
        data: a TSV, CSV or JSON-lines file, the name or folder of a data set, a data set of
            ``datasets``, texts read before, or rows;
            see :func:`thex_hf.evaluation.reading.read`.
        tokenizer: of ``model``, where that is a model.
        split: which split of a named data set.
        fhe: ``execute`` (ciphertexts), ``simulate`` (the same circuit on numbers, with modelled
            noise) or ``disable`` (the clear model).
        limit: score so many texts only, spread evenly over the data.
        metrics: names, see :func:`thex_hf.evaluation.registry.load_metric`; what suits the
            model by default.
        batch_size: texts at once; more are faster. By default one for ``execute``, so that
            seconds are those of one text.
        compare: also run the clear model on the same texts; not for ``disable``.
        on_error: ``raise`` refuses the data if a text is missing or empty, before anything is
            computed; ``skip`` leaves out such rows and those that the pipeline refuses, scores
            the others, and says which they were.
        window: cut texts into windows of so many tokens, instead of reading their beginning only;
            see :class:`thex_hf.tokens.windows.WindowOptions`, also for the next two.
        stride: how many tokens a window shares with the one before.
        pool: how the logits of windows become a text's; not where tokens are classified.
        **options: of the pipeline: ``protocol``, ``backend``, ``keys``, ``softmax``, ``relu``,
            ``ring``, ``flood``, ``processes``, ``weights_memory``.

    Raises:
        OptionError: an option or a metric is not on offer, or does not suit the model.
        InputError: the data hold labels of another kind, or an empty text.
        ConversionError: model or data cannot be read.
        ThexError: as the pipeline raises.
    """
    mode = one_of("fhe", fhe, FHE_MODES)
    pipe = open_pipeline(None, model, tokenizer, **options)
    every_token = pipe.model.every_token
    labelled = read(data, pipe.model.config, split, every_token=every_token, on_error=on_error)
    texts = spread(labelled, limit)
    inputs = inputs_of(texts)
    names = _metric_names(metrics, Answers(pipe).kind)
    both = run_both(
        pipe,
        inputs,
        texts.places,
        fhe=mode,
        compare=compare,
        batch_size=batch_size,
        on_error=on_error,
        windows={"window": window, "stride": stride, "pool": pool},
    )
    run, clear, texts = both.run, both.clear, texts.pick(both.kept)
    skipped = (*labelled.skipped, *both.skipped)
    tell(skipped)
    answers = Answers(pipe, texts.words)
    measured, entities = _measure(names, answers, run.logits, texts.labels)
    gap = {} if clear is None else answers.gap(run.logits, clear.logits)
    if gap.get("agreement", 1.0) < 1.0:
        logger.warning("%.2f %% of answers are not those in clear", 100 * (1 - gap["agreement"]))
    return Scores(
        model=str(pipe.model.name_or_path or type(pipe.model).__name__),
        kind=answers.kind,
        metrics=measured,
        clear_metrics=None
        if clear is None
        else _measure(names, answers, clear.logits, texts.labels)[0],
        intervals=_intervals({**measured, **gap}, len(texts), answers.kind),
        texts=len(texts),
        texts_in_data=len(labelled) + len(labelled.skipped),
        cut=count_cut(pipe, inputs_of(texts), pipe.limit, run.reports),
        agreement=gap.get("agreement"),
        max_logit_difference=gap.get("max_logit_difference"),
        speed=both.speed,
        costs=costs(run.reports),
        entities=entities,
        skipped=skipped,
    )


def _metric_names(metrics: Iterable[str] | None, kind: str) -> tuple[str, ...]:
    named = (metrics,) if isinstance(metrics, str) else metrics
    wanted = DEFAULTS[kind] if named is None else tuple(named)
    return tuple(dict.fromkeys(one for name in wanted for one in resolve(name, kind)))


def _measure(
    names: Sequence[str], answers: Answers, logits: Sequence[Any], labels: Sequence[Any]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The metrics, and those of each type of entity."""
    metric = load_metrics(names, multilabel=answers.kind == "multi")
    scores = metric.compute(
        predictions=answers.predictions(logits), references=answers.references(labels)
    )
    types = {name: value for name, value in scores.items() if isinstance(value, dict)}
    return {name: value for name, value in scores.items() if name not in types}, types


def _intervals(values: dict[str, float], texts: int, kind: str) -> dict[str, tuple[float, float]]:
    """Of the shares of texts; tags of one text are not independent, so they get none."""
    shares = () if kind == "tags" else ("accuracy", "agreement")
    return {name: share_interval(values[name], texts) for name in shares if name in values}


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
