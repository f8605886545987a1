"""Open a pipeline, run it over many texts, alone and beside the clear model, add up its reports."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import Pipeline, PreTrainedModel, pipeline

from thex_hf._progress import progress
from thex_hf.bundled import bundled_checkpoint
from thex_hf.conversion.data.table import Place, Skipped, row_error, select_usable
from thex_hf.errors import OptionError
from thex_hf.evaluation.base import logger
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.guards import unloadable
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier
from thex_hf.modeling.tasks import task_of
from thex_hf.options import NAMES, RunOptions
from thex_hf.pipelines.report import Report
from thex_hf.tasks import TASKS, TEXT

CLEAR_BATCH = 32
SIMULATED_BATCH = 8
MOST_TOLD = 20
"""How many rows that were left out a warning names; all are in the figures."""

PIPELINES = {task.name: task.pipeline for task in TASKS}
"""Our pipelines, by the Hub's name of the task."""


def open_pipeline(
    task: str | None,
    model: Any = None,
    tokenizer: Any = None,
    *,
    device: Any = None,
    **options: Any,
) -> Any:
    """The pipeline of a task.

    Args:
        task: name of one of our pipelines; None: the one that suits the model.
        model: a pipeline of that task; a model, with its tokenizer; a folder or a Hub name;
            None for the bundled model.
        tokenizer: of the model, where the model does not bring it.
        device: as in transformers; the CPU by default.
        **options: of :func:`transformers.pipeline` for this task, such as ``protocol``.

    Raises:
        OptionError: a pipeline of another task, options for a pipeline that is open already,
            or an option that is not on offer.
        ConversionError: the model cannot be loaded, or is no THE-X model.
    """
    given = {name: value for name, value in options.items() if value is not None}
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise OptionError(
            f"unknown option {unknown[0]!r}: options of the pipeline are {', '.join(NAMES)}"
        )
    if isinstance(model, Pipeline):
        if task is None and model.task in PIPELINES.values():
            task = model.task
        return _as_given(task or TEXT.pipeline, model, given)
    if isinstance(model, PreTrainedModel) and tokenizer is None:
        raise OptionError("a model needs its tokenizer: pass tokenizer=")
    if not (model is None or isinstance(model, str | os.PathLike | PreTrainedModel)):
        raise OptionError(
            f"expected a pipeline, a model, a folder or a Hub name, got {type(model).__name__}"
        )
    if model is None:
        model = bundled_checkpoint(RunOptions.take(dict(given)).bundled_form())
    name = os.fspath(model) if isinstance(model, str | os.PathLike) else model
    try:
        return pipeline(
            task or _task_of(name),
            model=name,
            tokenizer=tokenizer,
            device=-1 if device is None else device,
            **{"trust_remote_code": False, **given},
        )
    except OSError as error:
        raise unloadable(str(model), error) from error


def _task_of(model: Any) -> str:
    config = ThexBertConfig.from_pretrained(model) if isinstance(model, str) else model.config
    task = model.task.name if isinstance(model, ThexBertClassifier) else task_of(config)
    return PIPELINES.get(task, TEXT.pipeline)


def _as_given(task: str, pipe: Any, options: dict[str, Any]) -> Any:
    if getattr(pipe, "task", None) != task:
        raise OptionError(
            f"expected a pipeline of task {task!r}, got one of {getattr(pipe, 'task', None)!r}; "
            f"make it with pipeline({task!r}, ...)"
        )
    if options:
        raise OptionError(
            f"{', '.join(options)}: set in pipeline(...), not where the pipeline is given"
        )
    return pipe


@dataclass(frozen=True)
class Run:
    """The reports of all texts in order, and the wall-clock seconds of the pipeline's calls.

    The seconds hold one-time costs too: keys, and the encoding of weights.
    """

    reports: tuple[Report, ...]
    seconds: float

    @property
    def logits(self) -> list[Any]:
        """For each text one number a label; of tokens, that for each of them."""
        return [report.logits for report in self.reports]

    def pick(self, rows: Sequence[int]) -> Run:
        """A copy with some of the reports."""
        return Run(tuple(self.reports[i] for i in rows), self.seconds)

    def speed(self) -> dict[str, float]:
        """Seconds and texts a second, by evaluate's names."""
        return {
            "total_time_in_seconds": self.seconds,
            "samples_per_second": len(self.reports) / self.seconds,
            "latency_in_seconds": self.seconds / len(self.reports),
        }


def mode_of(pipe: Any, fhe: str | None) -> str:
    """The mode asked for, else the one that the pipeline was made with."""
    return str(fhe or pipe._forward_params.get("fhe", "execute"))


def classify(
    pipe: Any,
    inputs: Sequence[Any],
    *,
    fhe: str,
    batch_size: int | None = None,
    on_error: str = "raise",
    places: Sequence[Place] | None = None,
    windows: Mapping[str, Any] | None = None,
) -> Run:
    """Classify all inputs; texts of over 128 tokens are cut, if not into windows.

    Args:
        pipe: a pipeline of ours.
        inputs: texts, or dictionaries with ``text`` and ``text_pair``.
        fhe: ``execute``, ``simulate`` or ``disable``.
        batch_size: texts at once, of similar lengths; by default one for ``execute``, so
            that seconds are those of one text.
        on_error: ``skip``: a text that cannot be served has a report with an error.
        places: of the inputs in the data; one after the other by default.
        windows: ``window``, ``stride`` and ``pool``, where they are given; the pipeline's own by
            default.

    Raises:
        OptionError: a batch size of less than one, or no such windows.
        DataError: with ``raise``, a text cannot be served.
        ThexError: as the pipeline raises.
    """
    default = {"disable": CLEAR_BATCH, "simulate": SIMULATED_BATCH}.get(fhe, 1)
    size = default if batch_size is None else batch_size
    if size < 1:
        raise OptionError(f"batch_size must be at least 1, got {size}")
    order = sorted(range(len(inputs)), key=lambda i: _length(inputs[i])) if size > 1 else None
    rows = list(range(len(inputs))) if order is None else order
    cutting = {name: value for name, value in (windows or {}).items() if value is not None}
    if not cutting and pipe.window is None:
        cutting = {"truncation": True}
    reports: dict[int, Report] = {}
    seconds = 0.0
    with progress(len(inputs), f"fhe={fhe}") as bar:
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            begin = time.perf_counter()
            pipe(
                [inputs[i] for i in some], fhe=fhe, agreement=False, batch_size=len(some),
                on_error="skip", **cutting,
            )  # fmt: skip
            seconds += time.perf_counter() - begin
            reports |= dict(zip(some, pipe.reports, strict=True))
            if on_error == "raise":
                _refuse(some, reports, places)
            bar.update(len(some))
    return Run(tuple(reports[i] for i in range(len(inputs))), seconds)


def error_of(report: Report) -> str | None:
    """Why a text could not be served, to be read after "row 3 "; None if it was."""
    return None if report.error is None else f"cannot be classified: {report.error}"


def _refuse(
    rows: Sequence[int], reports: Mapping[int, Report], places: Sequence[Place] | None
) -> None:
    """Raise for the first of some rows that could not be served."""
    for row in sorted(rows):
        reason = error_of(reports[row])
        if reason is not None:
            raise row_error("", Place(row + 1) if places is None else places[row], reason)


def count_cut(pipe: Any, inputs: Sequence[Any], most: int, reports: Sequence[Report]) -> int:
    """How many texts have more than ``most`` tokens, so that only their beginning is scored.

    None has where texts were cut into windows, as their reports say.
    """
    if any(report.windows is not None for report in reports):
        return 0
    cut = 0
    for entry in inputs:
        texts = entry if isinstance(entry, dict) else {"text": entry}
        cut += len(pipe.tokenizer(**texts, truncation=False, verbose=False)["input_ids"]) > most
    return cut


def _bytes_of_tickets(reports: Sequence[Report]) -> dict[str, int]:
    """Bytes of preparing a ticket on average, where texts had any."""
    having = [r for r in reports if r.bytes.prepare_up is not None]
    if not having:
        return {}
    tickets = sum(len(r.requests) for r in having)
    up = sum(r.bytes.prepare_up or 0 for r in having)
    down = sum(r.bytes.prepare_down or 0 for r in having)
    return {"prepare_up": round(up / tickets), "prepare_down": round(down / tickets)}


def costs(reports: Sequence[Report]) -> dict[str, Any]:
    """What the texts cost, as JSON values.

    Returns:
        ``fhe``, ``protocol``, ``backend``, ``texts``; ``seconds``: ``keygen`` and ``prepare``
        in all, ``client`` and ``server`` a text on average; ``bytes``: ``keys`` of all key sets
        met, ``up`` and ``down`` a text on average, ``prepare_up`` and ``prepare_down`` a ticket;
        ``rounds``, ``levels``, ``ring_degree``, ``modulus_bits`` and ``key_switches`` of
        the most costly text; ``buckets``: texts, or windows, by padded length; ``batch``: texts in
        the largest request; ``windows`` of all texts, where they were cut into some; ``wraps`` of
        all texts, where they had tickets.
    """
    first, count = reports[0], len(reports)
    requests = [request for report in reports for request in report.requests]
    cut = any(report.windows is not None for report in reports)
    wraps = [report.wraps for report in reports if report.wraps is not None]
    return {
        "fhe": first.fhe,
        "protocol": first.protocol,
        "backend": first.backend,
        "texts": count,
        "seconds": {
            "keygen": sum(r.seconds.keygen for r in reports),
            "prepare": sum(r.seconds.prepare for r in reports),
            "client": sum(r.seconds.client for r in reports) / count,
            "server": sum(r.seconds.server for r in reports) / count,
        },
        "bytes": {
            "keys": sum({r.key_bytes for r in requests}),  # one size for each key set
            "up": round(sum(r.bytes.up for r in reports) / count),
            "down": round(sum(r.bytes.down for r in reports) / count),
            **_bytes_of_tickets(reports),
        },
        **{
            name: max(getattr(r, name) for r in reports)
            for name in ("rounds", "levels", "ring_degree", "modulus_bits", "key_switches", "batch")
        },
        "buckets": {str(k): n for k, n in sorted(Counter(r.bucket for r in requests).items())},
        **({"windows": len(requests)} if cut else {}),
        **({"wraps": sum(wraps)} if wraps else {}),
    }


def _length(entry: Any) -> int:
    texts = entry.values() if isinstance(entry, dict) else [entry]
    return sum(len(text) for text in texts if text)


@dataclass(frozen=True)
class Both:
    """A run, and that of the clear model if it was wanted, of the inputs that could be served.

    ``kept`` says which these are, ``skipped`` which others there were. ``speed`` counts all.
    """

    run: Run
    clear: Run | None
    kept: tuple[int, ...]
    skipped: tuple[Skipped, ...]
    speed: dict[str, float]


def run_both(
    pipe: Any,
    inputs: Sequence[Any],
    places: Sequence[Place],
    *,
    fhe: str,
    compare: bool,
    batch_size: int | None,
    on_error: str,
    windows: Mapping[str, Any] | None = None,
) -> Both:
    """Classify all inputs, and again in clear.

    Args:
        pipe: a pipeline of ours.
        inputs: as for :func:`classify`.
        places: of the inputs, in the data.
        fhe: mode.
        compare: also run the clear model, unless that is the mode.
        batch_size: texts at once.
        on_error: ``skip`` leaves out what cannot be served in either run.
        windows: as for :func:`classify`, in both runs.

    Raises:
        InputError: nothing could be served.
        ThexError: as the pipeline raises.
    """
    further: Any = {"on_error": on_error, "places": places, "windows": windows}
    run = classify(pipe, inputs, fhe=fhe, batch_size=batch_size, **further)
    clear = None
    if compare and fhe != "disable":
        clear = classify(pipe, inputs, fhe="disable", **further)
    reasons = [
        next((reason for report in reports if (reason := error_of(report))), None)
        for reports in zip(run.reports, (clear or run).reports, strict=True)
    ]
    kept, skipped = select_usable(reasons, "", places, on_error)
    return Both(
        run.pick(kept), None if clear is None else clear.pick(kept), tuple(kept), skipped,
        run.speed(),
    )  # fmt: skip


def tell(skipped: Sequence[Skipped]) -> None:
    """Warn of rows that were left out."""
    if skipped:
        logger.warning(
            "%d rows were left out of the scores: %s%s",
            len(skipped),
            "; ".join(map(str, skipped[:MOST_TOLD])),
            "; ..." if len(skipped) > MOST_TOLD else "",
        )
