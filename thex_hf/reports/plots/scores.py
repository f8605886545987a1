"""How large attention scores get in each layer, and where what stands for softmax is good.

Models are run on texts and their scores read. Scores outside of that interval are what THE-X calls
attention overflow (section 4.5). Below it the estimate gives a weight of zero, and a power rises
again; above it both grow slower than the exponential.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from thex_hf.reports.plots.canvas import COLOURS, MINT, RED, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
PERCENTILES = (0, 1, 25, 50, 75, 99, 100)
SPAN = 0.8
"""Of the room of a layer, what its boxes share."""

MOST_TOKENS = 128
TEXTS = 200
"""How many texts are enough for the shape of a distribution."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class LayerScores:
    """The scores of one layer before softmax, or what stands for it.

    Args:
        percentiles: by :data:`PERCENTILES`, as text.
        below: share of scores below the interval, 0 to 1; None without an interval.
        above: the same above it.
        interval: where what stands for softmax is good; None if nothing does.
        calibrated: largest absolute score that calibration saw; None if there was none.
    """

    percentiles: dict[str, float]
    below: float | None
    above: float | None
    interval: Interval | None
    calibrated: float | None

    @classmethod
    def of(
        cls, values: NDArray[np.float32], interval: Interval | None, calibrated: float | None
    ) -> LayerScores:
        """Sum up scores of any shape."""
        found = np.percentile(values, PERCENTILES)
        percentiles = dict(zip(map(str, PERCENTILES), found.tolist(), strict=True))
        if interval is None:
            return cls(percentiles, None, None, None, calibrated)
        below, above = float((values < interval[0]).mean()), float((values > interval[1]).mean())
        return cls(percentiles, below, above, interval, calibrated)


@dataclass(frozen=True)
class Scores:
    """One model's scores on some texts, layer by layer.

    Args:
        model: its name.
        form: ``unconverted``, ``the-x`` or ``polynomial``.
        texts: how many were run.
        layers: in order.
    """

    model: str
    form: str
    texts: int
    layers: tuple[LayerScores, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scores:
        """What :meth:`to_json` returned, perhaps by way of a file."""
        layers = (
            LayerScores(**{**row, "interval": row["interval"] and tuple(row["interval"])})
            for row in data["layers"]
        )
        return cls(data["model"], data["form"], data["texts"], tuple(layers))


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
    task = converted.task.source
    source = load_source(folder, task=task, num_labels=converted.config.num_labels)
    kinds = {"activation": "gelu", "softmax": "exact", "norm": "layernorm"}
    pooling = str(converted.config.pooling)
    model = start_model(source.model, task=task, pooling=pooling, **kinds)
    return model, source.tokenizer


def draw_scores(models: Sequence[Scores]) -> Figure:
    """For each layer one box a model.

    A box is the middle half of the scores, its whiskers end at the 1st and the 99th percentile,
    dots are the least and the largest. Above it stand the shares above and below the interval.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    layers = max(len(model.layers) for model in models)
    figure = new_figure("Attention scores before softmax, by layer", 4.4)
    axes = figure.subplots()
    width = SPAN / len(models)
    for number, model in enumerate(models):
        for layer, found in enumerate(model.layers):
            place = layer + (number - (len(models) - 1) / 2) * width
            _background(axes, place, width, found)
            _box(axes, place, width, found, COLOURS[number % len(COLOURS)])
    axes.set_xticks(range(layers), [f"layer {layer}" for layer in range(layers)])
    axes.set_xlim(-0.6, layers - 0.4)
    axes.set_ylabel("score (query . key / sqrt of head size)")
    axes.margins(y=0.12)
    tidy(axes, "y")
    _legend(figure, models)
    return figure


def _background(axes: Axes, place: float, width: float, found: LayerScores) -> None:
    if found.interval is not None:
        low, high = found.interval
        axes.bar(place, high - low, width, bottom=low, color=MINT, zorder=0.5)
    if found.calibrated is not None:
        ends = (place - width / 2, place + width / 2)
        axes.hlines((found.calibrated, -found.calibrated), *ends, color=RED, linestyle="--")


def _box(axes: Axes, place: float, width: float, found: LayerScores, colour: str) -> None:
    seen = found.percentiles
    names = {"whislo": "1", "q1": "25", "med": "50", "q3": "75", "whishi": "99"}
    stats = {key: seen[name] for key, name in names.items()}
    axes.bxp(
        [{**stats, "fliers": [seen["0"], seen["100"]]}],
        positions=[place],
        widths=0.45 * width,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": colour},
        medianprops={"color": "black"},
        flierprops={"marker": "o", "markersize": 4, "markerfacecolor": colour},
    )
    if found.above is not None and found.below is not None:
        top = max(
            seen["100"], found.interval[1] if found.interval else 0.0, found.calibrated or 0.0
        )
        axes.annotate(
            f"{_percent(found.above)} above\n{_percent(found.below)} below",
            (place, top),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def _legend(figure: Figure, models: Sequence[Scores]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Patch | Line2D] = [
        Patch(
            facecolor=COLOURS[number % len(COLOURS)],
            edgecolor="black",
            label=f"{model.model} ({model.form}, {model.texts} texts)",
        )
        for number, model in enumerate(models)
    ]
    every = [layer for model in models for layer in model.layers]
    if any(layer.interval for layer in every):
        handles.append(Patch(facecolor=MINT, label="interval of estimate or power"))
    if any(layer.calibrated for layer in every):
        handles.append(Line2D([], [], color=RED, linestyle="--", label="calibrated range"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
