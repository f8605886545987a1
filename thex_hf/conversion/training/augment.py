"""Disturbed and recombined training texts.

The model to follow is asked about the very same text as the student, whatever was done to it, so
no label is needed, and a few thousand texts make as many questions as there are training steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thex_hf.conversion.training.batches import Batch, Encoded, Row, write_row
from thex_hf.conversion.training.fitting import FitOptions
from thex_hf.conversion.training.strange import estrange, lengthen


def augment(batch: Batch, data: Encoded, options: FitOptions, generator: torch.Generator) -> Batch:
    """Recombine texts, make some strange or long, swap tokens, mask tokens, as the options say."""
    batch = lengthen(batch, data, options.text_long, generator)
    batch = mix_texts(batch, options.text_mix, generator)
    batch = estrange(batch, data, options.text_strange, generator)
    batch = swap_tokens(batch, options.token_swap, generator)
    return drop_tokens(batch, data, options.token_dropout, generator)


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

    Labels and guide no longer fit such texts: only for following another model's answers.
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


def mix_texts(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """Recombine a share of the texts with others of the batch.

    A pair becomes one of its texts beside the other text of another row, or beside a copy of
    itself or of its partner in which some tokens, from none to all, come from other texts: so
    pairs of every degree of likeness appear. A single text becomes its beginning and another
    one's end. What no longer fits the width of the batch is cut.

    Args:
        batch: with ``spans``, else it is returned as it is.
        share: of the texts.
        generator: of the draws.

    Returns:
        A batch of the same shape. Labels and guide no longer fit; see :func:`swap_tokens`.
    """
    spans = batch.get("spans")
    if not share or spans is None:
        return batch
    ids = batch["input_ids"]
    rows = Row.of(batch)
    pool = torch.cat([text for row in rows for text in (row.first, row.second)])
    hit = torch.rand(len(rows), generator=generator) < share
    names = ("input_ids", "attention_mask", "token_type_ids", "spans")
    new = {name: batch[name].clone() for name in names}
    for place in hit.nonzero().flatten().tolist() if len(pool) else []:
        other = rows[int(torch.randint(len(rows), (), generator=generator))]
        mix = _mixed_pair if len(rows[place].second) else _mixed_text
        texts = mix(rows[place], other, pool, generator)
        write_row(new, place, rows[place].holding(*texts, ids.shape[1]))
    return {**batch, **new}


def _mixed_pair(
    row: Row, other: Row, pool: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Two texts to put in the place of a pair, in either order."""
    way = int(torch.randint(4, (), generator=generator))
    first = row.second if way == 3 else row.first
    near = row.first if way == 1 else row.second
    second = other.second if way == 0 else _noised(near, pool, generator)
    swap = bool(torch.rand((), generator=generator) < 0.5)
    return (second, first) if swap else (first, second)


def _mixed_text(
    row: Row, other: Row, pool: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The beginning of one text and the end of another; no second text."""
    at = torch.rand((), generator=generator)
    begin, end = int(at * len(row.first)), int(at * len(other.first))
    return torch.cat([row.first[:begin], other.first[end:]]), row.second


def _noised(text: Tensor, pool: Tensor, generator: torch.Generator) -> Tensor:
    """A text with some of its tokens, any share of them, drawn from the pool."""
    hit = torch.rand(len(text), generator=generator) < torch.rand((), generator=generator)
    drawn = pool[torch.randint(len(pool), text.shape, generator=generator)]
    return drawn.where(hit, text)
