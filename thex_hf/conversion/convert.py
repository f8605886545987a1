"""Convert a fine-tuned classifier of the BERT family to THE-X form or to polynomial form."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import time
from dataclasses import asdict
from pathlib import Path

from transformers.utils import logging

from thex_hf._paths import user_path
from thex_hf.conversion.batches import Encoded, encode, hold_out
from thex_hf.conversion.forms import WAYS, Job, Outcome, Watch, finish
from thex_hf.conversion.norms import copied
from thex_hf.conversion.opening import Data, open_both, positions_of
from thex_hf.conversion.options import ConversionOptions
from thex_hf.conversion.report import ConversionReport
from thex_hf.conversion.resume import Work, work_folder
from thex_hf.conversion.save import check_output, save_model
from thex_hf.conversion.scores import METRICS, predict, score
from thex_hf.conversion.sources import Source
from thex_hf.conversion.start import begin, fine_tune_source
from thex_hf.conversion.trainer import make_accelerator
from thex_hf.errors import DivergenceError

logger = logging.get_logger(__name__)

MOST_HELD = 1000
LATER = ("half", "calibration_texts", "overwrite", "restart")
"""Options that change nothing in the stages, so unfinished work goes on if they differ."""


def convert(
    source: str | Path,
    output: str | Path,
    *,
    train: Data,
    dev: Data,
    options: ConversionOptions | None = None,
    task: str | None = None,
    pooling: str | None = None,
    watch: Watch | None = None,
) -> ConversionReport:
    """Convert a fine-tuned classifier of the BERT family and save the result.

    For the stages see :func:`thex_hf.conversion.forms.to_the_x` and
    :func:`thex_hf.conversion.forms.to_polynomial`. The largest values inside each layer are then
    measured on training texts. A conversion that was killed goes on where it was when it is
    called again with the same arguments: see :mod:`thex_hf.conversion.resume`.

    Args:
        source: folder or Hub name of the fine-tuned model, with its tokenizer; or of an encoder
            without a classifier, if ``options.fine_tuning`` has epochs.
        output: folder for model, tokenizer and model card; must be empty or new.
        train: labelled texts, a file or the name of a data set (its ``train`` split);
            see :func:`thex_hf.conversion.data.read_texts`.
        dev: texts to measure the score on (a named data set's ``validation`` split).
        options: see :class:`ConversionOptions`.
        task: ``"sequence"`` or ``"tokens"``; by default what source and data say.
        pooling: ``"cls"`` or ``"mean"``, for an encoder without a classifier.
        watch: is told the name of each stage and the logits on the development texts after it.

    Returns:
        What was measured; also written to ``conversion.json`` in the folder.

    Raises:
        ConversionError: the source or the data are not supported, the output folder is
            in use, or training diverged. Nothing is saved then.
    """
    options = options or ConversionOptions()
    start = time.perf_counter()
    output = check_output(user_path("output", output), overwrite=options.overwrite)
    found, texts = open_both(source, train, dev, options, task, pooling)
    length = min(options.max_length, positions_of(found))
    encoded = [encode(found.tokenizer, part, length) for part in texts]
    accelerator = make_accelerator()
    main = accelerator.is_main_process
    facts = {
        "source": [str(source), task, pooling],
        "texts": [_digest(part) for part in encoded],
        "options": {k: v for k, v in asdict(options).items() if k not in LATER},
    }
    work = Work.open(work_folder(output), facts, restart=options.restart, writes=main)
    accelerator.wait_for_everyone()
    try:
        outcome, search, job = _run(found, encoded[0], encoded[1], options, work, watch)
        model = finish(outcome, job)
    except DivergenceError:  # going on would end there again
        work.close()
        raise
    logger.info("scores: %s", outcome.stages)
    seconds = round(time.perf_counter() - start, 1)
    report = _report(str(source), found, outcome, search, options, encoded, seconds)
    if main:
        save_model(model, found.tokenizer, output, report, half=options.half)
    accelerator.wait_for_everyone()
    work.close()
    return report


def _report(
    name: str,
    source: Source,
    outcome: Outcome,
    search: dict[str, float],
    options: ConversionOptions,
    texts: list[Encoded],
    seconds: float,
) -> ConversionReport:
    """Collect what was done."""
    return ConversionReport(
        source=Path(name).name,
        metric=METRICS[texts[1].kind],
        unconverted=outcome.stages["unconverted"],
        converted=outcome.stages["converted"],
        train_texts=len(texts[0]),
        dev_texts=len(texts[1]),
        seconds=seconds,
        seed=options.seed,
        ranges=outcome.model.config.ranges,
        options=asdict(options),
        versions=_versions(),
        form=options.form,
        task=source.task,
        family=str(getattr(source.model.config, "model_type", "bert")),
        stages=outcome.stages,
        search=search,
        approximations=outcome.approximations,
    )


def _run(
    source: Source,
    train: Encoded,
    dev: Encoded,
    options: ConversionOptions,
    work: Work,
    watch: Watch | None,
) -> tuple[Outcome, dict[str, float], Job]:
    """Fine-tune if asked, then convert, once or for each weight decay."""
    if options.fine_tuning.epochs:
        fine_tune_source(source, train, options, work)
    first = Job(train, dev, options, work, source.model, watch=watch)
    before = first.look("unconverted", source.model)
    held = None
    if options.judged:
        train, held = hold_out(train, options.held_out, MOST_HELD, options.seed)
    guided = train.with_guide(predict(source.model, train))
    exact = begin(source, guided)
    decays = options.weight_decays or (None,)
    best: tuple[float, Outcome, Job] | None = None
    search: dict[str, float] = {}
    for decay in decays:
        own = options if decay is None else options.decayed(decay)
        below = work if len(decays) == 1 else work.below(f"decay-{decay}")
        job = Job(guided, dev, own, below, source.model, held, watch)
        outcome = WAYS[options.form](copied(exact), job)
        value = score(outcome.model, held) if held is not None and len(decays) > 1 else 0.0
        if len(decays) > 1:
            search[str(decay)] = value
        if best is None or value > best[0]:
            best = (value, outcome, job)
    assert best is not None
    _, outcome, job = best
    outcome.stages = {"unconverted": before, **outcome.stages}
    return outcome, search, job


def _digest(data: Encoded) -> str:
    """A fingerprint of tokenised texts and targets."""
    digest = hashlib.sha256()
    for part in (*data.ids, *data.labels):
        digest.update(part.numpy().tobytes())
    return str(digest.hexdigest())


def _versions() -> dict[str, str]:
    """Versions of this package and of the libraries that decide the result."""
    names = ("torch", "transformers", "accelerate", "numpy")
    own = {"thex_hf": str(importlib.import_module("thex_hf").__version__)}
    return own | {name: importlib.metadata.version(name) for name in names}
