"""Logits of all texts, and one figure that says how right they are."""

from __future__ import annotations

import inspect
from typing import TypeAlias

import torch
from torch import Tensor, nn

from thex_hf.conversion.batches import Batch, Encoded, Ragged, collate

Logits: TypeAlias = Tensor | Ragged

METRICS = {"classes": "accuracy", "numbers": "pearson", "multi": "f1", "tags": "tag-f1"}
"""What :func:`score` measures, by kind of label. Both F1 are micro-averaged; that of tags is over
words, the outside tag ``O`` left out."""


@torch.no_grad()
def predict(model: nn.Module, data: Encoded, size: int = 64) -> Logits:
    """Logits of all texts, on the CPU, the model in evaluation mode.

    Returns:
        ``(n, labels)``, or for each text ``(tokens, labels)``.
    """
    model.eval()
    device = next(model.parameters()).device
    order = torch.tensor([len(ids) for ids in data.ids]).argsort(stable=True)
    found: list[Tensor] = []
    for rows in torch.split(order, size):
        batch = collate(data, rows)
        logits = ask(model, {k: v.to(device) for k, v in batch.items()}).float().cpu()
        if data.kind == "tags":
            lengths = batch["attention_mask"].sum(-1).tolist()
            found += [own[:n] for own, n in zip(logits, lengths, strict=True)]
        else:
            found += list(logits)
    back = [found[i] for i in order.argsort().tolist()]
    return tuple(back) if data.kind == "tags" else torch.stack(back)


def ask(model: nn.Module, batch: Batch) -> Tensor:
    """Logits of one batch, which lies where the model does; it is given what it takes.

    A model with one kind of segment is not told of others.
    """
    names = [n for n in ("input_ids", "token_type_ids", "attention_mask") if takes(model, n)]
    own = getattr(model, "module", model)  # where several processes train it
    if getattr(getattr(own, "config", None), "type_vocab_size", 2) < 2:
        names = [name for name in names if name != "token_type_ids"]
    logits: Tensor = model(**{name: batch[name] for name in names}, return_dict=True).logits
    return logits


def takes(model: nn.Module, name: str) -> bool:
    """Whether the forward pass of a model takes an argument of that name (or any)."""
    parameters = inspect.signature(model.forward).parameters
    return name in parameters or any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
    )


def score(model: nn.Module, data: Encoded) -> float:
    """The metric of :data:`METRICS` for the data's kind, in per cent."""
    return score_logits(predict(model, data), data)


def score_logits(logits: Logits, data: Encoded) -> float:
    """As :func:`score`, for logits that are there already.

    Args:
        logits: from :func:`predict`.
        data: what the logits are of. If no tag is named ``O``, the most frequent one stands for it.
    """
    if isinstance(data.labels, tuple):
        return _tag_score(torch.cat(list(logits)), torch.cat(data.labels), data.outside)
    assert isinstance(logits, Tensor)
    if data.kind == "numbers":
        stacked = torch.stack([logits.squeeze(-1), data.labels])
        return 100.0 * float(torch.corrcoef(stacked)[0, 1])
    if data.kind == "multi":
        return _f1((logits > 0).float(), data.labels)
    return 100.0 * float((logits.argmax(-1) == data.labels).float().mean())


def _tag_score(logits: Tensor, tags: Tensor, outside: int | None) -> float:
    real = tags >= 0
    truth, guess = tags[real], logits[real].argmax(-1)
    if outside is None:
        outside = int(truth.bincount().argmax())
    size = logits.shape[-1]
    hot = nn.functional.one_hot
    keep = [i for i in range(size) if i != outside]
    return _f1(hot(guess, size)[:, keep].float(), hot(truth, size)[:, keep].float())


def _f1(guess: Tensor, truth: Tensor) -> float:
    """Micro-averaged F1 of zeros and ones, in per cent; 0 if nothing is found or there."""
    total = float(guess.sum() + truth.sum())
    return 200.0 * float((guess * truth).sum()) / total if total else 0.0
