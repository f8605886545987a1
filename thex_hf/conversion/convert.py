"""Convert a fine-tuned BERT classifier to THE-X form."""

from __future__ import annotations

import importlib
import importlib.metadata
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import BertForSequenceClassification
from transformers.utils import logging

from thex_hf.approx.reciprocal import load_reciprocal
from thex_hf.conversion.batches import Encoded, encode, sample
from thex_hf.conversion.data import LabelledTexts, read_texts
from thex_hf.conversion.mapping import thex_config, to_thex
from thex_hf.conversion.options import ConversionOptions, ConversionReport
from thex_hf.conversion.save import check_output, round_to_half, save_model
from thex_hf.conversion.schedule import distil_norms, fine_tune, polish
from thex_hf.conversion.source import load_source
from thex_hf.conversion.trainer import predict, score, score_logits
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertForSequenceClassification
from thex_hf.modeling.calibrate import measure_ranges

logger = logging.get_logger(__name__)

Data = str | Path | LabelledTexts


@dataclass(frozen=True)
class _Job:
    """What every stage needs."""

    train: Encoded
    dev: Encoded
    options: ConversionOptions


def convert(
    source: str | Path,
    output: str | Path,
    *,
    train: Data,
    dev: Data,
    options: ConversionOptions | None = None,
) -> ConversionReport:
    """Convert a fine-tuned ``BertForSequenceClassification`` and save the result.

    Stage 1 trains with ReLU and the frozen softmax estimate; stage 2 learns affine maps
    beside the layer norms; stage 3 drops the layer norms; a last optional step trains
    the whole end to end (Chen et al. 2022, Algorithm 1; the last step is not theirs).
    The largest values inside each layer are then measured on training texts.

    Args:
        source: folder or Hub name of the fine-tuned model, with its tokenizer.
        output: folder for model, tokenizer and model card; must be empty or new.
        train: labelled texts, a file or the name of a data set (its ``train`` split);
            see :func:`thex_hf.conversion.data.read_texts`.
        dev: texts to measure accuracy on (a named data set's ``validation`` split).
        options: see :class:`ConversionOptions`.

    Returns:
        What was measured; also written to ``conversion.json`` in the folder.

    Raises:
        ConversionError: the source or the data are not supported, the output folder is
            in use, or training diverged. Nothing is saved then.
    """
    options = options or ConversionOptions()
    start = time.perf_counter()
    output = check_output(Path(output), overwrite=options.overwrite)
    teacher, tokenizer = load_source(source)
    texts = [_read(train, "train", teacher), _read(dev, "validation", teacher)]
    length = min(options.max_length, teacher.config.max_position_embeddings)
    job = _Job(encode(tokenizer, texts[0], length), encode(tokenizer, texts[1], length), options)
    model, accuracies = _run_stages(teacher, job)
    model.config.ranges = measure_ranges(model, sample(job.train, options.calibration_texts))
    report = ConversionReport(
        source=Path(str(source)).name,
        metric="accuracy" if texts[1].label_names else "pearson",
        **accuracies,
        train_texts=len(job.train),
        dev_texts=len(job.dev),
        seconds=round(time.perf_counter() - start, 1),
        seed=options.seed,
        ranges=model.config.ranges,
        options=asdict(options),
        versions=_versions(),
    )
    save_model(model, tokenizer, output, report, half=options.half)
    return report


def _read(data: Data, split: str, model: BertForSequenceClassification) -> LabelledTexts:
    """Read labelled texts and match their labels to the model's."""
    config = model.config
    if config.problem_type == "multi_label_classification":
        raise ConversionError(
            "problem_type multi_label_classification cannot be converted; supported are "
            "single_label_classification and regression."
        )
    if isinstance(data, LabelledTexts):
        found = data
    elif config.num_labels == 1:
        found = read_texts(data, split=split, regression=True)
    else:
        found = read_texts(data, split=split, label_names=_names(config.id2label))
    count = 1 if found.label_names is None else len(found.label_names)
    if count != config.num_labels:
        raise ConversionError(
            f"the model has {config.num_labels} labels and the data have {count}: convert a "
            "model that was fine-tuned on this task."
        )
    return found


def _names(id2label: dict[int, str]) -> Sequence[str]:
    return [id2label[i] for i in range(len(id2label))]


def _run_stages(
    teacher: BertForSequenceClassification, job: _Job
) -> tuple[ThexBertForSequenceClassification, dict[str, float]]:
    """Run all stages; return the model, not yet calibrated, and the accuracies."""
    options = job.options
    accuracies = {"unconverted": score(teacher, job.dev)}
    guided = job.train.with_guide(predict(teacher, job.train))
    model = start_model(teacher)
    if options.fine_tuning.epochs > 0:
        fine_tune(model, guided, replace(options.fine_tuning, seed=options.seed), options.losses)
    accuracies["relu_softmax"] = score(model, job.dev)
    student = distil_norms(
        model, job.train, replace(options.distilling, seed=options.seed + 1), options.norm_texts
    )
    accuracies["affine"] = score(student, job.dev)
    if options.polish and options.polishing.epochs > 0:
        settings = replace(options.polishing, seed=options.seed + 2)
        polish(student, model, guided, settings, options.losses)
    student.cpu()
    if options.half:
        round_to_half(student)
    logits = predict(student, job.dev)
    if not bool(torch.isfinite(logits).all()):
        raise ConversionError(
            "the converted model gives logits that are not finite: training diverged. Use a "
            "lower learning rate or more weight decay. Nothing was saved."
        )
    accuracies["converted"] = score_logits(logits, job.dev.labels)
    logger.info("accuracies: %s", accuracies)
    return student, accuracies


def start_model(teacher: BertForSequenceClassification) -> ThexBertForSequenceClassification:
    """Copy a BERT classifier to a model with ReLU, softmax estimate and exact norms."""
    config = thex_config(teacher.config, activation="relu", softmax="estimate", norm="layernorm")
    config.reciprocal = load_reciprocal().fingerprint()
    model = ThexBertForSequenceClassification(config)
    model.load_state_dict(to_thex(teacher.state_dict()))
    model.eval()
    return model


def _versions() -> dict[str, str]:
    """Versions of this package and of the libraries that decide the result."""
    names = ("torch", "transformers", "accelerate", "numpy")
    own = {"thex_hf": str(importlib.import_module("thex_hf").__version__)}
    return own | {name: importlib.metadata.version(name) for name in names}
