"""Run models on texts and read their attention scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from thex_hf.approximations.softmax import ZERO_AT
from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.conversion.options import LossOptions
from thex_hf.conversion.sources import load_source, start_model
from thex_hf.conversion.training.batches import Batch, encode, sample
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertClassifier
from thex_hf.modeling.export import refuse_stale_ranges
from thex_hf.modeling.layers import PowerAttention
from thex_hf.reports.plots.scores import Interval, LayerScores, Scores

MOST_TOKENS = 128
TEXTS = 200
"""How many texts are enough for the shape of a distribution."""


def score_texts(data: str | Path, split: str = "validation") -> LabelledTexts:
    """Texts to run; of their labels nothing is wanted.

    Raises:
        ConversionError: they cannot be read.
    """
    return read_texts(data, split=split, labelled=False)


def measure_scores(
    model: ThexBertClassifier,
    tokenizer: Any,
    texts: LabelledTexts,
    name: str,
    *,
    limit: int = TEXTS,
    intervals: Sequence[Interval | None] | None = None,
) -> Scores:
    """A model's attention scores on texts, those of padding left out.

    In the last layer of a model that classifies by ``[CLS]`` only that query counts: the circuit
    computes no other.

    Args:
        model: ours, converted or not.
        tokenizer: its tokenizer.
        texts: from :func:`score_texts`.
        name: of the model.
        limit: run at most so many, spread evenly.
        intervals: for each layer where scores should lie; by default :func:`intervals_of`.

    Raises:
        ConversionError: the intervals are of a model of another depth, or its weights changed
            since it was calibrated.
    """
    most = min(MOST_TOKENS, model.config.max_position_embeddings)
    batches = sample(encode(tokenizer, texts, most), limit, size=16)
    values = _scores(model.eval(), batches)
    own = intervals_of(model) if intervals is None else intervals
    if len(own) != len(values):
        raise ConversionError(
            f"{name} has {len(values)} layers and the converted model {len(own)}: give the source "
            f"that it was converted from"
        )
    if model.config.ranges:
        refuse_stale_ranges(model)
    ranges = model.config.ranges or [{}] * len(values)
    rows = zip(values, own, ranges, strict=True)
    return Scores(
        name,
        str(model.config.form),
        sum(len(batch["input_ids"]) for batch in batches),
        tuple(LayerScores.of(found, good, seen.get("scores")) for found, good, seen in rows),
    )


@torch.no_grad()
def _scores(model: ThexBertClassifier, batches: Sequence[Batch]) -> list[NDArray[np.float32]]:
    """For each layer the scores of all heads, true queries and true keys, in one row."""
    layers: list[list[NDArray[np.float32]]] = [[] for _ in model.thex_bert.layers]
    for batch in batches:
        mask = batch["attention_mask"].bool()
        stream = model.embed(batch["input_ids"], batch["token_type_ids"])
        for found, trace in zip(layers, model.thex_bert.run_layers(stream, mask), strict=True):
            queries = mask.clone()
            if model.head == "cls" and found is layers[-1]:
                queries[:, 1:] = False
            kept = (queries[:, None, :, None] & mask[:, None, None, :]).expand_as(trace.scores)
            found.append(trace.scores[kept].float().numpy())
    return [np.concatenate(found) for found in layers]


def intervals_of(model: ThexBertClassifier) -> list[Interval | None]:
    """For each layer where what stands for softmax is good; None where nothing does.

    It begins where the estimate's weight is zero, or where the power of some head rises again, and
    ends where the conversion starts to penalise scores.
    """
    most = LossOptions().score_limit
    found: list[Interval | None] = []
    for layer in model.thex_bert.layers:
        softmax: Any = layer.attention.softmax
        if isinstance(softmax, PowerAttention):
            found.append((-float(softmax.shift.detach().min()), most))
        else:
            found.append((ZERO_AT, most) if model.config.softmax == "estimate" else None)
    return found


def open_source(folder: str | Path, converted: ThexBertClassifier) -> tuple[Any, Any]:
    """The model that another was converted from, with nothing replaced, and its tokenizer.

    It is loaded as a model of ours, whose scores lack a number that each row of BERT's has in
    common and that softmax does not see: the key bias is gone.

    Args:
        folder: folder or Hub name of a classifier or an encoder of the BERT family.
        converted: what became of it.

    Raises:
        ConversionError: it cannot be read, or is not what can be converted.
    """
    task = "tokens" if converted.every_token else "sequence"
    source = load_source(folder, task=task, num_labels=converted.config.num_labels)
    kinds = {"activation": "gelu", "softmax": "exact", "norm": "layernorm"}
    pooling = str(converted.config.pooling)
    model = start_model(source.model, task=task, pooling=pooling, **kinds)
    return model, source.tokenizer
