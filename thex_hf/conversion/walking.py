"""Go through the layers of a model once, the streams of a sample of texts kept between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

from thex_hf.conversion.training.batches import Batch, Encoded, collate
from thex_hf.conversion.training.losses import read_rows
from thex_hf.modeling.layers import LayerTrace, ThexBertLayer

Model = Any
MOST_TOKENS = 32768
"""Of a sample for fits: each norm has two numbers a feature, so more would change nothing."""


def fit_batches(
    data: Encoded, texts: int, tokens: int = MOST_TOKENS, size: int = 64
) -> list[Batch]:
    """Take texts to fit on, spread evenly over the data, those of similar length together.

    Args:
        data: what to take them from.
        texts: at most so many.
        tokens: at most so many in all, as far as texts are of usual lengths; one text at least.
        size: texts a batch.
    """
    rows = torch.arange(0, len(data), max(1, -(-len(data) // texts)))
    lengths = torch.tensor([len(data.ids[int(row)]) for row in rows])
    if (total := int(lengths.sum())) > tokens:
        kept = torch.linspace(0, len(rows) - 1, max(1, len(rows) * tokens // total)).long()
        rows, lengths = rows[kept], lengths[kept]
    return [collate(data, part) for part in torch.split(rows[lengths.argsort(stable=True)], size)]


class Walk:
    """A model's streams for some batches, as far as the walk has come.

    Args:
        model: one of our classifiers; put in evaluation mode.
        batches: from :func:`fit_batches`.
    """

    def __init__(self, model: Model, batches: list[Batch]) -> None:
        self.model, self.number = model.eval(), 0
        device = next(model.parameters()).device
        self.batches = [{k: v.to(device) for k, v in batch.items()} for batch in batches]
        self.streams: list[Tensor] = [
            model.embed(batch["input_ids"], batch["token_type_ids"]) for batch in self.batches
        ]

    @property
    def layer(self) -> ThexBertLayer:
        """The layer that the streams stand before."""
        return cast(ThexBertLayer, self.model.thex_bert.layers[self.number])

    def look(self) -> Iterator[tuple[Tensor, LayerTrace]]:
        """For each batch which rows count ``(batch, seq)``, and what happens in the next layer."""
        for rows, _, trace in self._run():
            yield rows, trace

    def collect(self, name: str) -> Tensor:
        """One traced quantity of the next layer, ``(rows, d)`` over rows that count, float64."""
        return torch.cat([getattr(trace, name)[rows].double() for rows, trace in self.look()])

    def step(self) -> Iterator[tuple[Tensor, LayerTrace]]:
        """As :meth:`look`, and the streams go through the layer; to be taken to its end."""
        streams = []
        for rows, stream, trace in self._run():
            streams.append(stream)
            yield rows, trace
        self.move(streams)

    def move(self, streams: list[Tensor]) -> None:
        """Stand before the layer after the next, with other streams."""
        self.streams, self.number = streams, self.number + 1

    def _run(self) -> Iterator[tuple[Tensor, Tensor, LayerTrace]]:
        for batch, stream in zip(self.batches, self.streams, strict=True):
            between = self.model.thex_bert.between(stream)
            out, trace = self.layer(stream, batch["attention_mask"].to(stream.dtype), between)
            yield read_rows(self.model, self.number, batch) == 1, out, trace
