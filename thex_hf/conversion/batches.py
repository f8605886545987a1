"""Tokenised texts and the batches made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from thex_hf.conversion.data import LabelledTexts
from thex_hf.errors import ConversionError
from thex_hf.modeling.tasks import IGNORED

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
    """Tokenise every text, cut to ``max_length`` tokens.

    Raises:
        ConversionError: the tokenizer has no padding token, or cannot tell words apart.
    """
    if tokenizer.pad_token_id is None:
        raise ConversionError("the tokenizer should have a padding token; this one has none.")
    limits = {"truncation": True, "max_length": max_length, "padding": False}
    if data.words is not None:
        if not getattr(tokenizer, "is_fast", False):
            raise ConversionError("token classification needs a fast tokenizer; this one is slow.")
        words = [list(entry) for entry in data.words]
        out = tokenizer(words, is_split_into_words=True, **limits)
    else:
        pairs = None if data.pairs is None else list(data.pairs)
        out = tokenizer(list(data.texts), pairs, **limits)
    names = data.label_names or ()
    segments = out.get("token_type_ids") or [[0] * len(ids) for ids in out["input_ids"]]
    return Encoded(
        ids=tuple(torch.tensor(ids) for ids in out["input_ids"]),
        segments=tuple(torch.tensor(s) for s in segments),
        labels=_targets(data, out),
        pad_id=tokenizer.pad_token_id,
        mask_id=tokenizer.mask_token_id,
        kind=data.kind,
        outside=names.index("O") if "O" in names else None,
        spans=_spans(out) if getattr(tokenizer, "is_fast", False) else None,
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


def _spans(out: Any) -> Tensor:
    """Where the first text and the second begin and end, ``(n, 4)``."""
    found = []
    for row, ids in enumerate(out["input_ids"]):
        of = out.sequence_ids(row)
        places = [[i for i, text in enumerate(of) if text == number] for number in (0, 1)]
        ends = [(own[0], own[-1] + 1) if own else (len(ids) - 1,) * 2 for own in places]
        found.append([*ends[0], *ends[1]])
    return torch.tensor(found, dtype=torch.long).view(-1, 4)


def _targets(data: LabelledTexts, out: Any) -> Tensor | Ragged:
    if data.kind == "tags":
        return tuple(
            torch.tensor(_token_tags(out.word_ids(i), tags)) for i, tags in enumerate(data.labels)
        )
    if data.kind == "multi":
        hot = torch.zeros(len(data), len(data.label_names or ()))
        for row, ids in enumerate(data.labels):
            hot[row, list(ids)] = 1.0
        return hot
    return torch.tensor(data.labels, dtype=torch.float if data.kind == "numbers" else torch.long)


def _token_tags(words: Sequence[int | None], tags: Sequence[int]) -> list[int]:
    """The tag of each token: its word's at the word's first token, elsewhere ``IGNORED``."""
    before: list[int | None] = [None, *words[:-1]]
    return [
        tags[word] if word is not None and word != last else IGNORED
        for word, last in zip(words, before, strict=True)
    ]


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
