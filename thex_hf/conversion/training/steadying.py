"""Steadying: training on the texts that make values run away, found among many that are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from thex_hf._progress import steps
from thex_hf.conversion.options import LossOptions
from thex_hf.conversion.training.augment import likely_batches, repeated_words, strange_batches
from thex_hf.conversion.training.batches import Batch, Encoded, sample
from thex_hf.conversion.training.spread import Spread, farthest
from thex_hf.conversion.training.stages import Model, TrainingStage, follow
from thex_hf.conversion.training.trainer import autocast, make_accelerator
from thex_hf.modeling.calibrate import measure_ranges, sizes_of, traces_of
from thex_hf.modeling.tasks import IGNORED

KEPT = 2048
USUAL_TEXTS = 2048
LAST_RATE_SHARE = 0.2
"""Share of the learning rate that the last round has."""


def steady(
    student: Model,
    exact: Model,
    stage: TrainingStage,
    rounds: int,
    drawn: int,
    answers: nn.Module | None = None,
    spread: Spread | None = None,
) -> None:
    """Train in place on the texts that run away, until none does or the rounds are over.

    Few texts run away in the end, so drawing them at random helps little. Here many are drawn, of
    those that nobody wrote and of those that somebody might have
    (:mod:`thex_hf.conversion.training.augment`), the worst are kept, and the model
    follows the exact one on them among usual texts; then it starts again with other draws. What
    ran away in an earlier round stays among the texts, and the learning rate falls from round to
    round: else each round mends its own texts and lets others go.

    Args:
        student: of the polynomial or normalised form.
        exact: what to follow; left unchanged.
        stage: data and settings of one round.
        rounds: at most so many.
        drawn: strange texts to look at in each, as many words, repeated, and as many likely texts.
        answers: as in :func:`follow`.
        spread: as in :func:`follow`.
    """
    hard: Encoded | None = None
    for number in range(rounds):
        seed = stage.fitting.seed + 1000 * (number + 1)
        new = worst_texts(student, stage.data, drawn, KEPT, seed, spread, stage.losses)
        if not len(new):
            return
        hard = new if hard is None else new.joined(hard.pick([*range(min(len(hard), KEPT))]))
        half = max(1, stage.fitting.steps(len(stage.data)) * stage.fitting.batch_size // 2)
        order = torch.randperm(
            len(stage.data), generator=torch.Generator().manual_seed(seed)
        ).tolist()
        times = -(-half // len(hard))
        data = stage.data.pick(order[:half]).joined(hard.pick([*range(len(hard))] * times))
        rate = stage.fitting.learning_rate * (
            1 - (1 - LAST_RATE_SHARE) * number / max(1, rounds - 1)
        )
        fitting = replace(stage.fitting, seed=seed, learning_rate=rate)
        name = f"{stage.name} {number + 1}"
        one = replace(stage, data=data, fitting=fitting, name=name)
        follow(student, exact, one, answers, spread)


@torch.no_grad()
def worst_texts(
    model: Model,
    data: Encoded,
    drawn: int,
    kept: int,
    seed: int,
    spread: Spread | None = None,
    losses: LossOptions | None = None,
) -> Encoded:
    """Of drawn texts those that go farthest, as far as they go beyond the bounds.

    Bounds are the largest values of usual texts and, of norms that a polynomial stands in, its
    interval: there a text is lost soon after it leaves it, long before its values are large.

    Args:
        model: measured as calibration does.
        data: what the texts are made of; its own texts are the usual ones.
        drawn: how many strange ones to look at; each word alone or repeated, of as many words; and
            as many likely texts.
        kept: how many to return at most, half of them likely ones.
        seed: of the draws.
        spread: has the intervals, or None.
        losses: ``interval_margin`` is cut from their ends.

    Returns:
        Texts with empty labels and guides: for following another model's answers.
    """
    device = next(model.parameters()).device

    def on_device(batch: Batch) -> Batch:
        return {name: values.to(device) for name, values in batch.items()}

    accelerator = make_accelerator()  # to look for texts half the digits do
    with autocast(accelerator):
        limits = measure_ranges(model, map(on_device, sample(data, USUAL_TEXTS)))

    def share(batch: Batch) -> Tensor:
        with autocast(accelerator):
            traces, logits = traces_of(model, batch)
        sizes = sizes_of(model, traces, logits, batch["attention_mask"])
        over = [
            sizes[number][name].float() / limit
            for number, layer in enumerate(limits)
            for name, limit in layer.items()
        ]
        if spread is not None and spread.intervals is not None:
            margins = losses or LossOptions()
            over.append(farthest(model, traces, batch, spread.intervals, margins).exp())
        return torch.stack(over).amax(0).nan_to_num(nan=torch.inf).cpu()

    def worst(batches: list[Batch], most: int, title: str) -> Encoded:
        found = torch.cat([share(on_device(batch)) for batch in steps(batches, title)])
        order = found.argsort(descending=True)[: min(most, int((found > 1.0).sum()))]
        return _encoded(batches, data).pick(order.tolist())

    strange = strange_batches(data, drawn, seed) + repeated_words(data, drawn, seed)
    likely = worst(likely_batches(data, drawn, seed), kept // 2, "likely texts")
    return likely.joined(worst(strange, kept - len(likely), "strange texts"))


def _encoded(batches: list[Batch], data: Encoded) -> Encoded:
    """Rows of batches as texts of their own, with labels and guides that say nothing."""
    ids, segments, spans = [], [], []
    for batch in batches:
        for row, length in enumerate(batch["attention_mask"].sum(-1).tolist()):
            ids.append(batch["input_ids"][row, :length])
            segments.append(batch["token_type_ids"][row, :length])
            spans.append(batch["spans"][row])
    labels: Any = [row.new_full(row.shape, IGNORED) for row in ids]
    guide: Any = None
    if isinstance(data.labels, Tensor):
        labels = data.labels.new_zeros((len(ids), *data.labels.shape[1:]))
    if isinstance(data.guide, Tensor):
        guide = data.guide.new_zeros((len(ids), *data.guide.shape[1:]))
    elif data.guide is not None:
        guide = tuple(data.guide[0].new_zeros((len(row), data.guide[0].shape[1])) for row in ids)
    return replace(
        data,
        ids=tuple(ids),
        segments=tuple(segments),
        labels=labels if isinstance(labels, Tensor) else tuple(labels),
        guide=guide,
        spans=torch.stack(spans),
    )
