"""One plain training loop, on whatever device Accelerate finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from tqdm import tqdm
from transformers.utils import logging

from thex_hf.conversion.batches import Batch, Encoded, collate, drop_tokens, shuffled, swap_tokens
from thex_hf.errors import ConversionError

logger = logging.get_logger(__name__)

LossOf = Callable[[nn.Module, Batch], Tensor]

EXPLODED = 1000.0
PATIENCE = 10
"""``PATIENCE`` losses in a row above ``EXPLODED * (1 + least loss)`` count as divergence. One
alone does not: a strange text can do that to a polynomial, and its gradient is clipped."""


@dataclass(frozen=True)
class FitOptions:
    """How long and how fast to train.

    ``average`` is the decay of a running average of the weights, which replaces them
    at the end; 0 switches it off. ``token_dropout`` is the share of ``[MASK]`` and
    ``token_swap`` that of tokens from other texts, see :func:`swap_tokens`.
    """

    epochs: float = 1.0
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    batch_size: int = 64
    warmup: float = 0.1
    token_dropout: float = 0.0
    token_swap: float = 0.0
    gradient_norm: float = 1.0
    average: float = 0.0
    seed: int = 0


def fit(model: nn.Module, loss_of: LossOf, data: Encoded, options: FitOptions, name: str) -> None:
    """Train the parameters of ``model`` that require gradients, in place.

    AdamW with a one-cycle learning rate; texts of similar length share a batch.

    Args:
        model: left in evaluation mode.
        loss_of: maps model and batch to a scalar loss.
        data: training texts.
        options: see :class:`FitOptions`.
        name: shown by the progress bar.

    Raises:
        ConversionError: the loss stopped being a finite number, or exploded.
    """
    set_seed(options.seed)
    accelerator = Accelerator()
    generator = torch.Generator().manual_seed(options.seed)
    steps = max(1, round(options.epochs * -(-len(data) // options.batch_size)))
    optimizer = _optimizer(model, options)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, steps + 1, pct_start=options.warmup
    )
    model, optimizer = accelerator.prepare(model, optimizer)
    averaged = _Average(model, options.average)
    model.train()
    queue: list[Tensor] = []
    limit, above = math.inf, 0
    quiet = not logging.is_progress_bar_enabled()
    for step in tqdm(range(steps), desc=name, disable=quiet, leave=False):
        queue = queue or shuffled(data, options.batch_size, generator)
        batch = swap_tokens(collate(data, queue.pop()), options.token_swap, generator)
        batch = drop_tokens(batch, data, options.token_dropout, generator)
        loss = loss_of(model, {k: v.to(accelerator.device) for k, v in batch.items()})
        if not bool(torch.isfinite(loss)):
            raise ConversionError(
                f"{name}: the loss became {float(loss.detach())} at step {step + 1} of {steps}; "
                "nothing was saved. Use a lower learning rate or more weight decay."
            )
        above = above + 1 if float(loss.detach()) > limit else 0
        if above == PATIENCE:
            raise ConversionError(
                f"{name}: the loss exploded to {float(loss.detach()):.3g} at step {step + 1} of "
                f"{steps}, the {PATIENCE}th in a row more than {EXPLODED:.0f} times the least; "
                "nothing was saved. Use a lower learning rate or more weight decay."
            )
        limit = min(limit, EXPLODED * (1.0 + abs(float(loss.detach()))))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), options.gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        averaged.update(step)
    averaged.apply()
    model.eval()
    logger.info("%s: %d steps, last loss %.4f", name, steps, float(loss.detach()))


def _optimizer(model: nn.Module, options: FitOptions) -> torch.optim.Optimizer:
    """Decay matrices only; biases and norm scales have one dimension."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    try:
        return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
    except RuntimeError:  # no fused form for this device in this version of torch
        return torch.optim.AdamW(groups, lr=options.learning_rate)


class _Average:
    """A running average of the trained weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live: list[Tensor] = (
            [p for p in model.parameters() if p.requires_grad] if decay else []
        )
        self.kept = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        if self.live:
            torch._foreach_lerp_(self.kept, self.live, 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        for live, kept in zip(self.live, self.kept, strict=True):
            live.copy_(kept)


@torch.no_grad()
def predict(model: nn.Module, data: Encoded, size: int = 64) -> Tensor:
    """Return the logits ``(n, labels)`` of all texts, on the CPU, in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    names = ("input_ids", "token_type_ids", "attention_mask")
    order = torch.tensor([len(ids) for ids in data.ids]).argsort(stable=True)
    found: list[Tensor] = []
    for rows in torch.split(order, size):
        batch = collate(data, rows)
        found.append(model(**{k: batch[k].to(device) for k in names}).logits.float().cpu())
    return torch.cat(found)[order.argsort()]


def score(model: nn.Module, data: Encoded) -> float:
    """Accuracy in per cent; for regression, the Pearson correlation in per cent."""
    return score_logits(predict(model, data), data.labels)


def score_logits(logits: Tensor, labels: Tensor) -> float:
    """As :func:`score`, for logits ``(n, labels)`` and labels ``(n,)``."""
    if labels.is_floating_point():
        stacked = torch.stack([logits.squeeze(-1), labels])
        return 100.0 * float(torch.corrcoef(stacked)[0, 1])
    return 100.0 * float((logits.argmax(-1) == labels).float().mean())
