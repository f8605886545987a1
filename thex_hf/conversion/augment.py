"""Disturbed and recombined training texts.

The model to follow is asked about the very same text as the student, whatever was done to it, so
no label is needed, and a few thousand texts make as many questions as there are training steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thex_hf.conversion.batches import Batch, Encoded
from thex_hf.conversion.fitting import FitOptions


@dataclass(frozen=True)
class Row:
    """Token ids of one input: of a text, or of a pair with what the tokenizer puts around."""

    head: Tensor
    first: Tensor
    middle: Tensor
    second: Tensor
    tail: Tensor

    @classmethod
    def cut(cls, ids: Tensor, mask: Tensor, span: Tensor) -> Row:
        """Cut padded ids ``(seq,)`` where the two texts begin and end."""
        a, b, c, d = span.tolist()
        return cls(ids[:a], ids[a:b], ids[b:c], ids[c:d], ids[d : int(mask.sum())])

    def holding(self, first: Tensor, second: Tensor, room: int) -> Row:
        """Return the row with other texts in it, the longer one cut until ``room`` is enough."""
        room -= len(self.head) + len(self.middle) + len(self.tail)
        while len(first) + len(second) > room:
            first, second = (
                (first[:-1], second) if len(first) > len(second) else (first, second[:-1])
            )
        return replace(self, first=first, second=second)

    def parts(self) -> tuple[Tensor, Tensor]:
        """What belongs to the first text and what to the second."""
        return torch.cat([self.head, self.first, self.middle]), torch.cat([self.second, self.tail])


def disturb(batch: Batch, data: Encoded, options: FitOptions, generator: torch.Generator) -> Batch:
    """Recombine texts, then swap tokens, then mask tokens, as the options say."""
    batch = mix_texts(batch, options.text_mix, generator)
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
    ids, mask, kinds = batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]
    rows = [Row.cut(*row) for row in zip(ids, mask, spans, strict=True)]
    pool = torch.cat([text for row in rows for text in (row.first, row.second)])
    hit = torch.rand(len(rows), generator=generator) < share
    names = ("input_ids", "attention_mask", "token_type_ids")
    new = {name: batch[name].clone() for name in names}
    for place in hit.nonzero().flatten().tolist() if len(pool) else []:
        other = rows[int(torch.randint(len(rows), (), generator=generator))]
        mix = _mixed_pair if len(rows[place].second) else _mixed_text
        row = rows[place].holding(*mix(rows[place], other, pool, generator), ids.shape[1])
        kind = kinds[place, [0, int(spans[place, 2])]]
        _write(new, place, row.parts(), kind)
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


def _write(batch: Batch, place: int, parts: tuple[Tensor, Tensor], kinds: Tensor) -> None:
    """Put the two parts of a row into a batch, in place, the rest padded.

    Ids beyond the end stay: the mask hides them.
    """
    sizes = [len(part) for part in parts]
    end = sum(sizes)
    batch["input_ids"][place, :end] = torch.cat(parts)
    batch["attention_mask"][place] = (torch.arange(batch["input_ids"].shape[1]) < end).long()
    batch["token_type_ids"][place, :end] = kinds.repeat_interleave(torch.tensor(sizes))
