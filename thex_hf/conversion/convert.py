"""Convert a fine-tuned BERT classifier to THE-X form or to polynomial form."""

from __future__ import annotations

import importlib
import importlib.metadata
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from transformers import BertForSequenceClassification
from transformers.utils import logging

from thex_hf.conversion.batches import encode
from thex_hf.conversion.data import LabelledTexts, read_texts
from thex_hf.conversion.forms import WAYS, Job, finish
from thex_hf.conversion.options import ConversionOptions, ConversionReport
from thex_hf.conversion.save import check_output, save_model
from thex_hf.conversion.source import load_source
from thex_hf.errors import ConversionError

logger = logging.get_logger(__name__)

Data = str | Path | LabelledTexts


def convert(
    source: str | Path,
    output: str | Path,
    *,
    train: Data,
    dev: Data,
    options: ConversionOptions | None = None,
) -> ConversionReport:
    """Convert a fine-tuned ``BertForSequenceClassification`` and save the result.

    To THE-X form: stage 1 trains with ReLU and the frozen softmax estimate; stage 2 learns
    affine maps beside the layer norms; stage 3 drops the layer norms; a last optional step
    trains the whole end to end (Chen et al. 2022, Algorithm 1; the last step is not theirs).
    To polynomial form: see :func:`thex_hf.conversion.forms.to_polynomial`.
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
    job = Job(encode(tokenizer, texts[0], length), encode(tokenizer, texts[1], length), options)
    outcome = WAYS[options.form](teacher, job)
    model = finish(outcome, job)
    logger.info("accuracies: %s", outcome.stages)
    named = {name: outcome.stages.get(name) for name in ("relu_softmax", "affine")}
    report = ConversionReport(
        source=Path(str(source)).name,
        metric="accuracy" if texts[1].label_names else "pearson",
        unconverted=outcome.stages["unconverted"],
        converted=outcome.stages["converted"],
        train_texts=len(job.train),
        dev_texts=len(job.dev),
        seconds=round(time.perf_counter() - start, 1),
        seed=options.seed,
        ranges=model.config.ranges,
        options=asdict(options),
        versions=_versions(),
        **named,
        form=options.form,
        stages=outcome.stages,
        approximations=outcome.approximations,
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


def _versions() -> dict[str, str]:
    """Versions of this package and of the libraries that decide the result."""
    names = ("torch", "transformers", "accelerate", "numpy")
    own = {"thex_hf": str(importlib.import_module("thex_hf").__version__)}
    return own | {name: importlib.metadata.version(name) for name in names}
