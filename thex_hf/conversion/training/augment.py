"""Texts that nobody wrote: disturbed, recombined, shuffled, words repeated, very long ones.

The model to follow is asked about the very same text as the student, whatever was done to it, so
no label is needed, and a few thousand texts make as many questions as there are training steps.
Where nothing is compared and nothing divided, a value that is large once is squared: a model
that never saw strange texts can answer them with logits in the thousands. So training and
calibration see them too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from thex_hf.conversion.options import FitOptions
from thex_hf.conversion.training.batches import Batch, Encoded, Row, collate, write_row
from thex_hf.modeling.tasks import IGNORED

FEW = 3
"""Words that are repeated in turn are at most so many."""


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
        A batch of the same shape. Labels and guide no longer fit; see :func:`swap_tokens`.
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
    batches = []
    for number, rows in enumerate(_drawn(data, count, size, generator)):
        batch = lengthen(collate(data, rows), data, float(number % 2), generator)
        batches.append(estrange(batch, data, 1.0, generator))
    return batches


def likely_batches(data: Encoded, count: int, seed: int, size: int = 64) -> list[Batch]:
    """At most ``count`` texts that somebody might have written, to measure a model on, in batches.

    Of three batches one has texts as they are, one recombined texts, and one texts of up to
    ``data.longest`` tokens, each made of several.

    Args:
        data: whose texts they are made of.
        count: how many.
        seed: of the draws.
        size: texts a batch.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for number, rows in enumerate(_drawn(data, count, size, generator)):
        batch = lengthen(collate(data, rows), data, float(number % 3 == 2), generator)
        batches.append(mix_texts(batch, float(number % 3 == 1), generator))
    return batches


def _drawn(data: Encoded, count: int, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """So many rows in batches; where there are fewer, all of them again and again."""
    order = torch.randperm(len(data), generator=generator)
    return torch.split(order.repeat(-(-count // max(1, len(order))))[:count], size)


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
