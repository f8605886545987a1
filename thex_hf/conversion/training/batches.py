"""Tokenised texts, the batches made of them, and rows that are cut where texts begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.errors import ConversionError, InputError
from thex_hf.modeling.tasks import IGNORED
from thex_hf.tokens.options import TokenOptions, limit_of
from thex_hf.tokens.texts import first_tokens, join_words, tags_of_tokens
from thex_hf.tokens.tokenise import Tokens, tokenise

TRUNCATED = TokenOptions(truncation=True)
Batch = dict[str, Tensor]
Ragged: TypeAlias = tuple[Tensor, ...]
"""For each text a tensor whose first axis are its tokens."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of each text, segment ids where there are pairs, and targets.

    ``labels`` by ``kind``: class ids ``(n,)``, numbers ``(n,)``, zeros and ones ``(n, labels)``,
    or for each text its tokens' tags. ``guide``, if present, has logits to imitate:
    ``(n, labels)``, or for each text ``(tokens, labels)``. ``outside`` is the tag ``O``. ``spans``
    says where the two texts of each row begin and end, ``(n, 4)``; the second may be empty.
    ``words`` are the ids of all tokens that texts are made of, and ``longest`` is the most tokens
    that a row may have.
    """

    ids: Ragged
    segments: Ragged
    labels: Tensor | Ragged
    pad_id: int
    mask_id: int | None
    guide: Tensor | Ragged | None = None
    kind: str = "classes"
    outside: int | None = None
    spans: Tensor | None = None
    words: Tensor | None = None
    longest: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def with_guide(self, guide: Tensor | Ragged) -> Encoded:
        """Return a copy that carries logits to imitate."""
        return replace(self, guide=guide)

    def pick(self, rows: Sequence[int]) -> Encoded:
        """Return a copy with some of the texts."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            segments=tuple(self.segments[i] for i in rows),
            labels=_rows(self.labels, rows),
            guide=None if self.guide is None else _rows(self.guide, rows),
            spans=None if self.spans is None else self.spans[torch.tensor(rows, dtype=torch.long)],
        )

    def joined(self, other: Encoded) -> Encoded:
        """Return a copy with the texts of another one, made of the same data, behind its own."""

        def both(name: str) -> Any:
            one, two = getattr(self, name), getattr(other, name)
            if one is None or two is None:
                return None
            return torch.cat([one, two]) if isinstance(one, Tensor) else (*one, *two)

        return replace(
            self, **{n: both(n) for n in ("ids", "segments", "labels", "guide", "spans")}
        )


def _rows(values: Tensor | Ragged, rows: Sequence[int]) -> Tensor | Ragged:
    if isinstance(values, Tensor):
        return values[torch.tensor(rows, dtype=torch.long)]
    return tuple(values[i] for i in rows)


def encode(tokenizer: Any, data: LabelledTexts, max_length: int) -> Encoded:
    """Tokenise every text as inference does, cut to ``max_length`` tokens.

    Words are tokenised as the text that they make with blanks between, and a word's tag goes to the
    first token that shares a character with it. A word without a token is left out.

    Args:
        tokenizer: of transformers.
        data: texts and labels.
        max_length: the most tokens; fewer if the tokenizer says so, and never more than 128.

    Raises:
        ConversionError: the tokenizer has no padding token, or cannot tell words apart; or a text
            is empty to it (its row is named).
    """
    if tokenizer.pad_token_id is None:
        raise ConversionError("the tokenizer should have a padding token; this one has none.")
    if data.words is not None and not getattr(tokenizer, "is_fast", False):
        raise ConversionError("token classification needs a fast tokenizer; this one is slow.")
    limit = limit_of(max_length, tokenizer.model_max_length)
    rows = [_tokens(tokenizer, data, number, limit) for number in range(len(data))]
    names = data.label_names or ()
    return Encoded(
        ids=tuple(torch.tensor(row.ids) for row in rows),
        segments=tuple(torch.tensor(row.segments) for row in rows),
        labels=_targets(data, rows),
        pad_id=tokenizer.pad_token_id,
        mask_id=tokenizer.mask_token_id,
        kind=data.kind,
        outside=names.index("O") if "O" in names else None,
        spans=_spans(rows) if getattr(tokenizer, "is_fast", False) else None,
        words=_ordinary(tokenizer),
        longest=max_length,
    )


def _ordinary(tokenizer: Any) -> Tensor:
    """Ids of the tokens that texts are made of: not special, and not kept free for later use."""
    special = set(tokenizer.all_special_tokens)
    names = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return torch.tensor(
        [i for name, i in names if name not in special and not name.startswith("[unused")],
        dtype=torch.long,
    )


def _tokens(tokenizer: Any, data: LabelledTexts, row: int, limit: int) -> Tokens:
    text = data.texts[row] if data.words is None else join_words(data.words[row])[0]
    pair = None if data.pairs is None else data.pairs[row]
    try:
        return tokenise(tokenizer, text, pair, limit=limit, options=TRUNCATED)
    except InputError as error:
        raise ConversionError(f"row {row + 1} of the texts: {error}; leave it out.") from error


def _spans(rows: Sequence[Tokens]) -> Tensor:
    """Where the first text and the second begin and end, ``(n, 4)``."""
    spans = []
    for row in rows:
        of = row.texts or ()
        places = [[i for i, text in enumerate(of) if text == number] for number in (0, 1)]
        ends = [(at[0], at[-1] + 1) if at else (len(row) - 1,) * 2 for at in places]
        spans.append([*ends[0], *ends[1]])
    return torch.tensor(spans, dtype=torch.long).view(-1, 4)


def _targets(data: LabelledTexts, rows: Sequence[Tokens]) -> Tensor | Ragged:
    if data.words is not None:
        tagged = zip(rows, data.words, data.labels, strict=True)
        return tuple(torch.tensor(_token_tags(*row)) for row in tagged)
    if data.kind == "multi":
        hot = torch.zeros(len(data), len(data.label_names or ()))
        for row, ids in enumerate(data.labels):
            hot[row, list(ids)] = 1.0
        return hot
    return torch.tensor(data.labels, dtype=torch.float if data.kind == "numbers" else torch.long)


def _token_tags(tokens: Tokens, words: Sequence[str], tags: Sequence[int]) -> list[int]:
    firsts = first_tokens(tokens.spans or (), join_words(words)[1])
    return tags_of_tokens(firsts, tags, len(tokens), IGNORED)


def collate(data: Encoded, rows: Tensor, multiple: int = 4) -> Batch:
    """Pad the chosen rows to one length, a multiple of ``multiple``.

    Returns:
        ``input_ids``, ``token_type_ids``, ``attention_mask`` ``(batch, seq)``, ``labels`` and
        perhaps ``guide``: ``(batch, ...)``, or ``(batch, seq, ...)`` where tokens have tags;
        ``spans`` ``(batch, 4)`` if the data have them.
    """
    picked = [int(row) for row in rows]
    longest = max(len(data.ids[row]) for row in picked)
    size = -(-longest // multiple) * multiple
    mask = torch.zeros((len(picked), size), dtype=torch.long)
    for place, row in enumerate(picked):
        mask[place, : len(data.ids[row])] = 1
    batch = {
        "input_ids": _padded([data.ids[i] for i in picked], size, data.pad_id),
        "token_type_ids": _padded([data.segments[i] for i in picked], size, 0),
        "attention_mask": mask,
    }
    for name, values, fill in (("labels", data.labels, IGNORED), ("guide", data.guide, 0)):
        if isinstance(values, Tensor):
            batch[name] = values[rows]
        elif values is not None:
            batch[name] = _padded([values[i] for i in picked], size, fill)
    if data.spans is not None:
        batch["spans"] = data.spans[rows]
    return batch


def _padded(parts: list[Tensor], size: int, fill: int) -> Tensor:
    """Stack tensors ``(length, ...)`` of several lengths to ``(n, size, ...)``."""
    out = parts[0].new_full((len(parts), size, *parts[0].shape[1:]), fill)
    for place, part in enumerate(parts):
        out[place, : len(part)] = part
    return out


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


def hold_out(data: Encoded, share: float, most: int, seed: int) -> tuple[Encoded, Encoded]:
    """Part data at random: what is left, and ``share`` of it, at most ``most`` and at least 1."""
    count = max(1, min(most, round(share * len(data))))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    return data.pick(sorted(order[count:])), data.pick(sorted(order[:count]))


@dataclass(frozen=True)
class Row:
    """Token ids of one input: of a text, or of a pair with what the tokenizer puts around.

    ``kinds`` are the segment ids of the two texts.
    """

    head: Tensor
    first: Tensor
    middle: Tensor
    second: Tensor
    tail: Tensor
    kinds: Tensor

    @classmethod
    def of(cls, batch: Batch) -> list[Row]:
        """The rows of a batch that has ``spans``."""
        names = ("input_ids", "attention_mask", "token_type_ids", "spans")
        return [cls.cut(*row) for row in zip(*(batch[name] for name in names), strict=True)]

    @classmethod
    def cut(cls, ids: Tensor, mask: Tensor, kinds: Tensor, span: Tensor) -> Row:
        """Cut padded ids ``(seq,)`` where the two texts begin and end."""
        a, b, c, d = span.tolist()
        parts = (ids[:a], ids[a:b], ids[b:c], ids[c:d], ids[d : int(mask.sum())])
        return cls(*parts, kinds[[0, min(c, len(kinds) - 1)]])

    @property
    def frame(self) -> Tensor:
        """What the tokenizer puts around and between the texts."""
        return torch.cat([self.head, self.middle, self.tail])

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


def write_row(batch: Batch, place: int, row: Row) -> None:
    """Put a row into a batch with ``spans``, in place, the rest padded.

    Ids beyond the end stay: the mask hides them.
    """
    parts = row.parts()
    sizes = [len(part) for part in parts]
    end = sum(sizes)
    batch["input_ids"][place, :end] = torch.cat(parts)
    batch["attention_mask"][place] = (torch.arange(batch["input_ids"].shape[1]) < end).long()
    batch["token_type_ids"][place, :end] = row.kinds.repeat_interleave(torch.tensor(sizes))
    lengths = torch.tensor([len(x) for x in (row.head, row.first, row.middle, row.second)])
    batch["spans"][place] = lengths.cumsum(0)
