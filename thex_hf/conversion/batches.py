"""Tokenised texts and the batches made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from thex_hf.conversion.data import LabelledTexts
from thex_hf.errors import ConversionError

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Encoded:
    """Token ids of each text, segment ids where there are pairs, and targets.

    ``labels`` has shape ``(n,)``: integers for classes, floats for regression.
    ``guide``, if present, has shape ``(n, labels)``: logits to imitate.
    """

    ids: tuple[Tensor, ...]
    segments: tuple[Tensor, ...]
    labels: Tensor
    pad_id: int
    mask_id: int | None
    guide: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def with_guide(self, guide: Tensor) -> Encoded:
        """Return a copy that carries logits to imitate."""
        return replace(self, guide=guide)


def encode(tokenizer: Any, data: LabelledTexts, max_length: int) -> Encoded:
    """Tokenise every text, cut to ``max_length`` tokens.

    Raises:
        ConversionError: the tokenizer has no padding token.
    """
    if tokenizer.pad_token_id is None:
        raise ConversionError("the tokenizer should have a padding token; this one has none.")
    pairs = None if data.pairs is None else list(data.pairs)
    out = tokenizer(list(data.texts), pairs, truncation=True, max_length=max_length, padding=False)
    segments = out.get("token_type_ids") or [[0] * len(ids) for ids in out["input_ids"]]
    kind = torch.float if data.label_names is None else torch.long
    return Encoded(
        ids=tuple(torch.tensor(ids) for ids in out["input_ids"]),
        segments=tuple(torch.tensor(s) for s in segments),
        labels=torch.tensor(data.labels, dtype=kind),
        pad_id=tokenizer.pad_token_id,
        mask_id=tokenizer.mask_token_id,
    )


def collate(data: Encoded, rows: Tensor, multiple: int = 4) -> Batch:
    """Pad the chosen rows to one length, a multiple of ``multiple``.

    Returns:
        ``input_ids``, ``token_type_ids``, ``attention_mask`` ``(batch, seq)``, ``labels``
        ``(batch,)`` and perhaps ``guide`` ``(batch, labels)``.
    """
    picked = [int(row) for row in rows]
    longest = max(len(data.ids[row]) for row in picked)
    shape = (len(picked), -(-longest // multiple) * multiple)
    ids = torch.full(shape, data.pad_id)
    segments, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for place, row in enumerate(picked):
        length = len(data.ids[row])
        ids[place, :length] = data.ids[row]
        segments[place, :length] = data.segments[row]
        mask[place, :length] = 1
    batch = {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask}
    batch["labels"] = data.labels[rows]
    if data.guide is not None:
        batch["guide"] = data.guide[rows]
    return batch


def shuffled(data: Encoded, size: int, generator: torch.Generator) -> list[Tensor]:
    """Deal all rows into batches of texts of similar length, in random order.

    Returns:
        Row numbers of each batch.
    """
    order = torch.randperm(len(data), generator=generator)
    lengths = torch.tensor([len(ids) for ids in data.ids])
    batches: list[Tensor] = []
    for pool in torch.split(order, size * 64):
        batches.extend(torch.split(pool[lengths[pool].argsort(stable=True)], size))
    return [batches[int(i)] for i in torch.randperm(len(batches), generator=generator)]


def sample(data: Encoded, count: int, size: int = 64) -> list[Batch]:
    """Take at most ``count`` rows, spread evenly over the data, as batches."""
    step = max(1, -(-len(data) // count))
    return [collate(data, rows) for rows in torch.split(torch.arange(0, len(data), step), size)]


def drop_tokens(batch: Batch, data: Encoded, share: float, generator: torch.Generator) -> Batch:
    """Replace a share of the tokens by ``[MASK]``; first token and padding stay."""
    if not share or data.mask_id is None:
        return batch
    ids = batch["input_ids"]
    hit = (torch.rand(ids.shape, generator=generator) < share) & (batch["attention_mask"] == 1)
    hit[:, 0] = False
    return {**batch, "input_ids": ids.masked_fill(hit, data.mask_id)}


def swap_tokens(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """Replace a share of the tokens by others of the batch; first token and padding stay.

    Labels and guide no longer fit such texts: only for following another model's answer to the
    very same batch, which then is asked about far more texts than there are.
    """
    if not share:
        return batch
    ids, real = batch["input_ids"], batch["attention_mask"] == 1
    real[:, 0] = False
    pool = ids[real]
    if not len(pool):
        return batch
    drawn = pool[torch.randint(len(pool), ids.shape, generator=generator)]
    hit = (torch.rand(ids.shape, generator=generator) < share) & real
    return {**batch, "input_ids": drawn.where(hit, ids)}
