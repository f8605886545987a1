"""One row of a batch, cut where its texts begin and end, so that other texts can go in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thex_hf.conversion.training.batches import Batch


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
