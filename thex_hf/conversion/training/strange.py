"""Texts that nobody wrote: words repeated, single words, shuffled texts, very long ones.

Where nothing is compared and nothing divided, a value that is large once is squared: a model
that never saw such texts can answer them with logits in the thousands. So training and
calibration see them too. As in :mod:`thex_hf.conversion.training.augment` no label is needed: the
model to follow is asked about the very same text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thex_hf.conversion.training.batches import Batch, Encoded, Row, collate, write_row
from thex_hf.modeling.tasks import IGNORED

FEW = 3
"""Words that are repeated in turn are at most so many."""


def lengthen(batch: Batch, data: Encoded, share: float, generator: torch.Generator) -> Batch:
    """Make a batch of very long texts of it, with that probability.

    Some of its rows, about as many as cost what the batch did, become texts of up to
    ``data.longest`` tokens, each made of texts of the batch one after the other.

    Args:
        batch: with ``spans``, else it is returned as it is.
        data: what the batch is of.
        share: of the batches.
        generator: of the draws.
    """
    if not share or "spans" not in batch or data.longest <= batch["input_ids"].shape[1]:
        return batch
    if float(torch.rand((), generator=generator)) >= share:
        return batch
    size = batch["input_ids"].shape
    kept = max(1, size[0] * size[1] // data.longest)
    rows = Row.of(batch)
    wide = {name: tensor[:kept] for name, tensor in _widened(batch, data).items()}
    for place in range(kept):
        row = rows[place]
        room = data.longest - len(row.frame)
        aim = 1 + int(torch.randint(room, (), generator=generator))
        firsts, seconds, length = [row.first], [row.second], len(row.first) + len(row.second)
        while length < aim:
            other = rows[int(torch.randint(len(rows), (), generator=generator))]
            firsts.append(other.first)
            seconds.append(other.second if len(row.second) else other.second[:0])
            length += max(1, len(firsts[-1]) + len(seconds[-1]))
        write_row(wide, place, row.holding(torch.cat(firsts), torch.cat(seconds), data.longest))
    return wide


def estrange(batch: Batch, data: Encoded, share: float, generator: torch.Generator) -> Batch:
    """Exchange a share of the texts for words repeated or alone, or shuffle them.

    Args:
        batch: with ``spans``, else it is returned as it is.
        data: what the batch is of; ``data.words`` are the words to repeat.
        share: of the texts.
        generator: of the draws.

    Returns:
        A batch of the same shape. Labels and guide no longer fit; see
        :func:`thex_hf.conversion.training.augment.swap_tokens`.
    """
    if not share or "spans" not in batch:
        return batch
    width = batch["input_ids"].shape[1]
    hit = torch.rand(len(batch["input_ids"]), generator=generator) < share
    rows = Row.of(batch)
    names = ("input_ids", "attention_mask", "token_type_ids", "spans")
    new = {**batch, **{name: batch[name].clone() for name in names}}
    for place in hit.nonzero().flatten().tolist():
        row = rows[place]
        first = _strange(row.first, row, data, width, generator)
        second = row.second
        if len(second) and torch.rand((), generator=generator) < 0.5:
            second = _strange(second, row, data, width, generator)
        write_row(new, place, row.holding(first, second, width))
    return new


def strange_batches(data: Encoded, count: int, seed: int, size: int = 64) -> list[Batch]:
    """At most ``count`` strange texts to measure a model on, in batches.

    Half have the lengths of the data, half are up to ``data.longest`` tokens long.

    Args:
        data: whose texts and words they are made of.
        count: how many.
        seed: of the draws.
        size: texts a batch.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator)
    order = order.repeat(-(-count // max(1, len(order))))[:count]
    batches = []
    for number, rows in enumerate(torch.split(order, size)):
        batch = lengthen(collate(data, rows), data, float(number % 2), generator)
        batches.append(estrange(batch, data, 1.0, generator))
    return batches


def repeated_words(data: Encoded, count: int, seed: int, size: int = 64) -> list[Batch]:
    """At most ``count`` texts of one word each, alone or again and again, in batches.

    No word comes twice; how often it is repeated is drawn, few times more often than many, and is
    the same in a batch.

    Args:
        data: whose words they are made of, in the frame of a text of its own.
        count: how many.
        seed: of the draws.
        size: texts a batch.
    """
    if data.words is None or not len(data.words) or data.spans is None:
        return []
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.words), generator=generator)[:count]
    batches = []
    for words in torch.split(data.words[order], size):
        batch = _widened(collate(data, torch.arange(len(words)) % len(data)), data)
        rows = Row.of(batch)
        room = data.longest - len(rows[0].frame)
        times = max(1, round(room ** float(torch.rand((), generator=generator))))
        for place, word in enumerate(words):
            row = rows[place]
            second = row.second[:0] if not len(row.second) else word.repeat(times)
            write_row(batch, place, row.holding(word.repeat(times), second, data.longest))
        width = int(batch["attention_mask"].sum(-1).max())
        batches.append({k: v[:, :width] if k in _fills(data) else v for k, v in batch.items()})
    return batches


def _strange(
    text: Tensor, row: Row, data: Encoded, width: int, generator: torch.Generator
) -> Tensor:
    """One text in the place of another: 1 to ``width`` tokens, less those of the frame."""

    def draw(end: int) -> int:
        return int(torch.randint(end, (), generator=generator))

    room = max(1, width - len(row.frame))
    words = data.words if data.words is not None and len(data.words) else text
    if not len(words):
        return text
    way = draw(6)
    if way == 0 and len(text):  # its own words in another order
        return text[torch.randperm(len(text), generator=generator)]
    if way == 1 and len(text):  # one of its words again and again
        at = draw(len(text))
        again = text[at].repeat(1 + draw(room))
        return torch.cat([text[:at], again, text[at + 1 :]])[:room]
    if way == 2 and len(text):  # over and over
        return text.repeat(-(-room // len(text)))[: 1 + draw(room)]
    few = torch.stack([words[draw(len(words))] for _ in range(1 + draw(FEW) * (way == 3))])
    times = round(room ** float(torch.rand((), generator=generator)))  # short ones are frequent
    return few.repeat(-(-times // len(few)))[: max(1, times)]


def _widened(batch: Batch, data: Encoded) -> Batch:
    """A batch padded to ``data.longest`` tokens."""
    fills = _fills(data)
    out = {**batch, "spans": batch["spans"].clone()}
    for name in fills.keys() & batch.keys():
        old = batch[name]
        out[name] = old.new_full((len(old), data.longest, *old.shape[2:]), fills[name])
        out[name][:, : old.shape[1]] = old
    return out


def _fills(data: Encoded) -> dict[str, int]:
    """What has an entry for each token, and what stands where there is none."""
    fills = {"input_ids": data.pad_id, "token_type_ids": 0, "attention_mask": 0}
    if data.kind == "tags":
        fills |= {"labels": IGNORED, "guide": 0}
    return fills
