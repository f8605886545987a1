"""Train the unconverted model: a stock BERT classifier with GELU and pooler."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForSequenceClassification

from thex_hf.conversion.options import FitOptions
from thex_hf.conversion.training.batches import Batch, Encoded
from thex_hf.conversion.training.trainer import fit

SMOOTHING = 0.05
SCORE_LIMIT = 3.0
SCORE_PENALTY = 0.02


def watch_projections(model: BertForSequenceClassification) -> list[dict[str, Tensor]]:
    """Keep each layer's latest query and key projections, ``(batch, seq, d)``."""
    seen: list[dict[str, Tensor]] = []
    for layer in model.bert.encoder.layer:
        entry: dict[str, Tensor] = {}
        for name in ("query", "key"):

            def keep(_: nn.Module, __: object, out: Tensor, entry=entry, name=name) -> None:
                entry[name] = out

            getattr(layer.attention.self, name).register_forward_hook(keep)
        seen.append(entry)
    return seen


def score_penalty(seen: list[dict[str, Tensor]], mask: Tensor, heads: int) -> Tensor:
    """Mean squared excess of attention scores over the limit, padded keys left out."""
    total = torch.zeros(())
    for entry in seen:
        query, key = (
            entry[name].unflatten(-1, (heads, -1)).transpose(1, 2) for name in ("query", "key")
        )
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        excess = torch.relu(scores.abs() - SCORE_LIMIT) ** 2
        total = total + (excess * mask[:, None, None, :]).mean()
    return total


def train_teacher(model: BertForSequenceClassification, data: Encoded, options: FitOptions) -> None:
    """Fine-tune in place: label smoothing, and large attention scores cost a little."""
    seen = watch_projections(model)
    heads = model.config.num_attention_heads
    names = ("input_ids", "token_type_ids", "attention_mask")

    def loss_of(net: nn.Module, batch: Batch) -> Tensor:
        logits = net(**{name: batch[name] for name in names}).logits
        loss = functional.cross_entropy(logits, batch["labels"], label_smoothing=SMOOTHING)
        return loss + SCORE_PENALTY * score_penalty(seen, batch["attention_mask"], heads)

    fit(model, loss_of, data, options, "unconverted model")
