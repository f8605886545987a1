"""Steadying: a polynomial model trains on the very texts on which its values run away.

Of texts that nobody wrote (:mod:`thex_hf.conversion.training.strange`) few run away in the end, so
drawing them at random helps little. Here many are drawn, the worst are kept, and the model
follows the exact one on them among usual texts; then it starts again with other draws. What ran
away in an earlier round stays among the texts, and the learning rate falls from round to round:
else each round mends its own texts and lets others go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from thex_hf.conversion.training.batches import Batch, Encoded, sample
from thex_hf.conversion.training.stages import TrainingStage, follow
from thex_hf.conversion.training.strange import repeated_words, strange_batches
from thex_hf.modeling.calibrate import measure_ranges, text_sizes
from thex_hf.modeling.tasks import IGNORED

Model = Any

KEPT = 2048
USUAL_TEXTS = 2048
LAST_RATE_SHARE = 0.2
"""Share of the learning rate that the last round has."""


def steady(student: Model, exact: Model, stage: TrainingStage, rounds: int, drawn: int) -> None:
    """Train in place until no drawn text gives values beyond those of usual texts, or to the end.

    Args:
        student: of the polynomial form.
        exact: what to follow; left unchanged.
        stage: data and settings of one round.
        rounds: at most so many.
        drawn: strange texts to look at in each, and as many words, repeated.
    """
    hard: Encoded | None = None
    for number in range(rounds):
        seed = stage.fitting.seed + 1000 * (number + 1)
        new = worst_texts(student, stage.data, drawn, KEPT, seed)
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
        follow(student, exact, replace(stage, data=data, fitting=fitting, name=name))


@torch.no_grad()
def worst_texts(model: Model, data: Encoded, drawn: int, kept: int, seed: int) -> Encoded:
    """Of strange texts those with the largest values, as far as these exceed the usual ones.

    Args:
        model: measured as calibration does.
        data: what the strange texts are made of; its own texts are the usual ones.
        drawn: how many to look at; and each word alone or repeated, of as many words.
        kept: how many to return at most.
        seed: of the draws.

    Returns:
        Texts with empty labels and guides: for following another model's answers.
    """
    device = next(model.parameters()).device

    def on_device(batch: Batch) -> Batch:
        return {name: values.to(device) for name, values in batch.items()}

    limits = measure_ranges(model, map(on_device, sample(data, USUAL_TEXTS)))
    batches = strange_batches(data, drawn, seed) + repeated_words(data, drawn, seed)
    shares: list[Tensor] = []
    for batch in batches:
        sizes = text_sizes(model, on_device(batch))
        over = [
            sizes[number][name] / limit
            for number, layer in enumerate(limits)
            for name, limit in layer.items()
        ]
        share = torch.stack(over).amax(0).cpu()
        shares.append(share.nan_to_num(nan=torch.inf))
    order = torch.cat(shares).argsort(descending=True)
    worst = order[: min(kept, int((torch.cat(shares) > 1.0).sum()))]
    return _encoded(batches, data).pick(worst.tolist())


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
