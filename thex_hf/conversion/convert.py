"""Convert a fine-tuned classifier of the BERT family to one of the three forms."""

from __future__ import annotations

import importlib.metadata
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from transformers.utils import logging

from thex_hf.conversion.beginning import ANSWERS, copy_source, source_answers
from thex_hf.conversion.checkpoint import Checkpoint, checkpoint_folder
from thex_hf.conversion.context import LAST, ConversionContext, Outcome, Watch
from thex_hf.conversion.deciding import SETTINGS_AFTER_STAGES, stage_digests
from thex_hf.conversion.digests import deciding_options, package_facts
from thex_hf.conversion.finishing import finish
from thex_hf.conversion.forecast import (
    BATCH,
    Announce,
    Clock,
    Plan,
    Work,
    plan_stages,
    time_steps,
)
from thex_hf.conversion.opening import ConversionInputs, Data, open_inputs, read_paths
from thex_hf.conversion.options import ConversionOptions, options_from
from thex_hf.conversion.output import REPORT_NAME, check_output, output_folder, save_model
from thex_hf.conversion.recipes import RECIPE_OF_FORM
from thex_hf.conversion.replacements import copy_model
from thex_hf.conversion.scores import METRICS, ConversionReport, check_served, score
from thex_hf.conversion.sources.card import hub_name
from thex_hf.conversion.stage_options import stages_of
from thex_hf.conversion.training.batches import hold_out
from thex_hf.conversion.training.stages import fine_tune_source
from thex_hf.conversion.training.trainer import autocast, make_accelerator
from thex_hf.errors import ConversionError, DivergenceError, OptionError
from thex_hf.modeling.cards.measures import read_record

logger = logging.get_logger(__name__)
MOST_HELD_OUT = 1000


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
    announce: Announce = logger.info,
) -> ConversionReport:
    """Convert a fine-tuned classifier of the BERT family and save the result.

    For the stages see :func:`thex_hf.conversion.recipes.to_the_x`,
    :func:`thex_hf.conversion.recipes.to_polynomial` and
    :func:`thex_hf.conversion.recipes.to_normalised`. The largest values inside each layer are then
    measured on training texts. A conversion that was killed goes on where it was when it is
    called again with the same arguments: see :mod:`thex_hf.conversion.checkpoint`.

    Args:
        source: folder or Hub name of the fine-tuned model, with its tokenizer; or of an encoder
            without a classifier, if ``options.fine_tuning`` has epochs; or folder of an adapter
            of PEFT, which is merged into its base model.
        output: folder for model, tokenizer and model card; must be empty or new, and apart from
            what is read.
        train: labelled texts, a file or the name of a data set (its ``train`` split);
            see :func:`thex_hf.conversion.data.reading.read_texts`.
        dev: texts to measure the score on (a named data set's ``validation`` split).
        options: see :class:`ConversionOptions`.
        task: ``"sequence"`` or ``"tokens"``; by default what source and data say.
        pooling: ``"cls"`` or ``"mean"``, for an encoder without a classifier.
        watch: is told the name of each stage and the logits on the development texts after it.
        announce: is told a line on how long all of it will take, measured by a few steps, and
            another one after each stage; by default it goes to the log.

    Returns:
        What was measured; also written to ``conversion.json`` in the folder.

    Raises:
        ConversionError: the source or the data are not supported, the output folder is in use,
            cannot be written to or is not apart from source and data, training diverged, or no
            protocol can run the result. Nothing is saved then.
    """
    options = options or ConversionOptions()
    folder = output_folder(output)
    check_output(folder, overwrite=options.overwrite, reads=read_paths(source, train, dev))
    inputs = open_inputs(source, train, dev, options, task, pooling)
    return convert_opened(inputs, folder, watch, announce)


def convert_opened(
    inputs: ConversionInputs,
    output: Path,
    watch: Watch | None = None,
    announce: Announce = logger.info,
    *,
    keep: bool = True,
) -> ConversionReport:
    """As :func:`convert`, for a source and texts that are open already.

    Args:
        inputs: both, and the options.
        output: folder that :func:`thex_hf.conversion.output.check_output` has passed.
        watch: as for :func:`convert`.
        announce: as for :func:`convert`.
        keep: after a divergence, the stages that were finished before.

    Raises:
        ConversionError: as :func:`convert` raises.
    """
    start = time.perf_counter()
    options = inputs.options
    accelerator = make_accelerator()
    main = accelerator.is_main_process
    facts = {**inputs.facts, "options": deciding_options(options, *SETTINGS_AFTER_STAGES)}
    checkpoint = Checkpoint.open(
        checkpoint_folder(output),
        facts,
        restart=options.restart,
        writes=main,
        stages=stage_digests(options),
    )
    accelerator.wait_for_everyone()
    try:
        clock = Clock(announce if main else logger.debug)
        outcome, search, context = _run(inputs, checkpoint, watch, clock)
        model = finish(outcome, context)
        check_served(model)
    except DivergenceError as error:  # going on would end there again
        kept = checkpoint.diverged(LAST) if keep else []
        if not kept:
            checkpoint.discard()
            raise
        raise DivergenceError(
            f"{error} What came before ({', '.join(kept)}) is kept in {str(checkpoint.folder)!r}: "
            "repeat the command with other options, and only what they change is done again."
        ) from error
    logger.info("scores: %s", outcome.stages)
    seconds = round(time.perf_counter() - start, 1)
    report = _report(inputs, outcome, search, seconds, clock.seconds)
    if main:
        save_model(model, inputs.source.tokenizer, output, report, half=options.half)
    accelerator.wait_for_everyone()
    checkpoint.discard()
    return report


def convert_pretrained(
    source: str | os.PathLike[str],
    *,
    task: str,
    train: Data | None = None,
    dev: Data | None = None,
    output: str | os.PathLike[str] | None = None,
    options: ConversionOptions | None = None,
    pooling: str | None = None,
    **flags: Any,
) -> str:
    """Convert a model unless that has been done, and return its folder.

    What has been done is known by digests of the source's weights, configuration and tokenizer,
    of texts, options and version, not by names: the source is loaded to see.

    Args:
        source: folder or Hub name of the model to convert.
        task: ``"sequence"`` or ``"tokens"``.
        train: labelled texts to train with, see :func:`thex_hf.conversion.convert`.
        dev: texts to measure the score on.
        output: folder for the result; by default one in the Hugging Face cache, named after all
            that decides it.
        options: all options; or else a few as ``flags``.
        pooling: for an encoder without a classifier.
        **flags: settings of :func:`thex_hf.conversion.options.options_from`, such as ``form``.

    Raises:
        ConversionError: texts are missing, or as :func:`convert` raises.
        OptionError: unknown settings, or both ``options`` and ``flags``.
    """
    if train is None or dev is None:
        raise ConversionError(
            "convert=True needs labelled texts: pass train=... and dev=..., files or data sets."
        )
    if options is not None and flags:
        raise OptionError(f"pass options or {', '.join(flags)}, not both.")
    try:
        chosen = options or options_from(**flags)
    except TypeError as error:
        raise OptionError(f"convert=True got settings that are not on offer: {error}.") from error
    source = os.fspath(source) if isinstance(source, os.PathLike) else source
    inputs = open_inputs(source, train, dev, chosen, task, pooling)
    if output is None:
        # the source's name, and a digest of all that decides
        name = f"{Path(inputs.name).name}-{inputs.digest[:16]}"
        folder = output_folder(Path(constants.HF_HOME) / "thex_hf" / name)
        folder.parent.mkdir(parents=True, exist_ok=True)
    else:
        folder = output_folder(os.fspath(output))
    report = read_record(folder, REPORT_NAME) or {}
    if report.get("digest") == inputs.digest and not chosen.overwrite:
        logger.info("converted before: %s", folder)
        return str(folder)
    check_output(folder, overwrite=chosen.overwrite, reads=read_paths(source, train, dev))
    # a folder named after the options is not the place where others would look
    convert_opened(inputs, folder, keep=output is not None)
    return str(folder)


def _report(
    inputs: ConversionInputs,
    outcome: Outcome,
    search: dict[str, float],
    seconds: float,
    stage_seconds: dict[str, float],
) -> ConversionReport:
    """Collect what was done."""
    source, options = inputs.source, inputs.options
    return ConversionReport(
        source=hub_name(inputs.name) or Path(inputs.name).name,
        metric=METRICS[inputs.dev.kind],
        unconverted=outcome.stages["unconverted"],
        converted=outcome.stages["converted"],
        train_texts=len(inputs.train),
        dev_texts=len(inputs.dev),
        seconds=seconds,
        stage_seconds=stage_seconds,
        seed=options.seed,
        ranges=outcome.model.config.ranges,
        options=asdict(options),
        versions=_versions(),
        form=options.form,
        task=source.task,
        family=str(getattr(source.model.config, "model_type", "bert")),
        stages=outcome.stages,
        search=search,
        digest=inputs.digest,
        approximations=outcome.approximations,
        dev_data=inputs.dev_data,
        card=inputs.card,
    )


def _run(
    inputs: ConversionInputs, checkpoint: Checkpoint, watch: Watch | None, clock: Clock
) -> tuple[Outcome, dict[str, float], ConversionContext]:
    """Fine-tune if asked, then convert, once or for each weight decay."""
    source, options, train, dev = inputs.source, inputs.options, inputs.train, inputs.dev
    held_out = None
    rest = train
    if options.judged:
        rest, held_out = hold_out(train, options.held_out, MOST_HELD_OUT, options.seed)
    decays = options.weight_decays
    runs = [(options.decayed(d), checkpoint.child(f"decay-{d}")) for d in decays]
    if len(decays) < 2:
        runs = [(options.decayed(decays[0]) if decays else options, checkpoint)]
    _forecast(inputs, [plan_stages(own, len(rest), part) for own, part in runs], checkpoint, clock)
    if options.fine_tuning.epochs:
        with clock.timing("fine_tuning"):
            fine_tune_source(source, train, options, checkpoint)
    first = ConversionContext(train, dev, options, checkpoint, source.model, watch=watch)
    before = first.score_stage("unconverted", source.model)
    guided = rest.with_guide(source_answers(source.model, rest, checkpoint, clock))
    exact = copy_source(source, guided)
    best: tuple[float, Outcome, ConversionContext] | None = None
    search: dict[str, float] = {}
    for own, part in runs:
        context = ConversionContext(guided, dev, own, part, source.model, held_out, watch, clock)
        outcome = RECIPE_OF_FORM[options.form](copy_model(exact), context)
        value = score(outcome.model, held_out) if held_out is not None and len(runs) > 1 else 0.0
        if len(runs) > 1:
            search[str(own.weight_decays[0])] = value
        if best is None or math.isnan(best[0]) or value > best[0]:
            best = (value, outcome, context)
    assert best is not None
    _, outcome, context = best
    outcome.stages = {"unconverted": before, **outcome.stages}
    return outcome, search, context


def _forecast(
    inputs: ConversionInputs, plans: list[Plan], checkpoint: Checkpoint, clock: Clock
) -> None:
    """Time a few steps of the source, and say how long what is still to do will take."""
    options, texts = inputs.options, len(inputs.train)
    asked = checkpoint.has_stage(ANSWERS)
    begin = {} if asked else {ANSWERS: Work(passes=-(-texts // BATCH))}
    tuning = options.fine_tuning
    if tuning.epochs and not checkpoint.has_stage("fine_tuned"):
        begin = {"fine_tuning": Work(tuning.steps(texts)), **begin}
    accelerator = make_accelerator()
    fitting = next(iter(reversed(stages_of(options.stages).values())))
    with autocast(accelerator):
        step, ask = time_steps(inputs.source.model, inputs.train, fitting, accelerator.device)
    clock.begin([begin, *plans], step / accelerator.num_processes, ask)


def _versions() -> dict[str, str]:
    """Versions of this package and of the libraries that decide the result."""
    names = ("torch", "transformers", "accelerate", "numpy")
    ours = {"thex_hf": str(package_facts()[0])}
    return ours | {name: importlib.metadata.version(name) for name in names}
