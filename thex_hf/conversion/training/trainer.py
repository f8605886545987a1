"""One plain training loop, on whatever devices Accelerate finds."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor, nn
from tqdm import tqdm
from transformers.utils import logging

from thex_hf.conversion.checkpoint import BETWEEN_SAVES, Checkpoint
from thex_hf.conversion.training.augment import augment
from thex_hf.conversion.training.batches import Batch, Encoded, collate, shuffled
from thex_hf.conversion.training.fitting import DivergenceGuard, FitOptions
from thex_hf.conversion.training.state import (
    BatchSampler,
    BestWeights,
    WeightAverage,
    load_state,
    save_state,
)

logger = logging.get_logger(__name__)

LossFunction = Callable[[nn.Module, Batch], Tensor]
Evaluate = Callable[[], float]

NO_CHECKPOINT = Checkpoint()


class _Loss(nn.Module):
    """The loss as the forward pass of a module, which is what Accelerate can spread and cast."""

    def __init__(self, model: nn.Module, loss_of: LossFunction) -> None:
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, batch: Batch) -> Tensor:
        return self.loss_of(self.model, batch)


def make_accelerator() -> Accelerator:
    """The devices and processes at hand; bfloat16 products on a GPU that has them."""
    mixed = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    spread = DistributedDataParallelKwargs(find_unused_parameters=True)  # some stages skip parts
    return Accelerator(mixed_precision="bf16" if mixed else None, kwargs_handlers=[spread])


def is_main_process() -> bool:
    """Whether this process writes and prints: the only one, or the first of several."""
    return bool(PartialState().is_main_process)


def fit(
    model: nn.Module,
    loss_of: LossFunction,
    data: Encoded,
    options: FitOptions,
    name: str,
    *,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    evaluate: Evaluate | None = None,
) -> None:
    """Train the parameters of ``model`` that require gradients, in place.

    AdamW with a one-cycle learning rate; texts of similar length share a batch. Under
    ``accelerate launch`` each process takes its share of the batches, and gradients are averaged.

    Args:
        model: left in evaluation mode.
        loss_of: maps model and batch to a scalar loss.
        data: training texts.
        options: see :class:`FitOptions`.
        name: shown by the progress bar, and names the state that ``checkpoint`` keeps.
        checkpoint: where to keep the state now and then, and to go on from.
        evaluate: scores the model on held-out texts, for ``options.checks``; higher is better.

    Raises:
        ConversionError: the loss stopped being a finite number, or exploded.
    """
    set_seed(options.seed)
    accelerator = make_accelerator()
    trained: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    steps = max(1, options.steps(len(data)) // accelerator.num_processes)
    optimizer = _optimizer(model, options)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, steps + 1, pct_start=options.warmup
    )
    net, optimizer = accelerator.prepare(_Loss(model, loss_of), optimizer)
    generator = torch.Generator().manual_seed(options.seed)
    sampler = BatchSampler(
        generator,
        lambda: shuffled(data, options.batch_size, generator),
        accelerator.process_index,
        accelerator.num_processes,
    )
    average, best = WeightAverage(trained, options.average), BestWeights(trained, options.patience)
    net.train()
    first, key = 0, name.replace(" ", "-").replace(",", "")
    if (state := checkpoint.load_loop(key)) is not None:
        first = load_state(*state, trained, optimizer, schedule, sampler, average, best)
    guard, saved, stop = DivergenceGuard(name, steps), time.monotonic(), best.over
    check = -(-steps // options.checks) if evaluate and options.checks else 0
    quiet = not (logging.is_progress_bar_enabled() and accelerator.is_main_process)
    for step in tqdm(
        range(first, steps), desc=name, initial=first, total=steps, disable=quiet, leave=False
    ):
        if stop:
            break
        batch = augment(collate(data, sampler.next()), data, options, generator)
        loss = net({k: v.to(accelerator.device) for k, v in batch.items()})
        guard.check(float(loss.detach()), step)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained, options.gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        average.update(step)
        if check and evaluate and ((step + 1) % check == 0 or step + 1 == steps):
            with average.shown():
                stop = best.note(evaluate())
            net.train()
        if time.monotonic() - saved > BETWEEN_SAVES and accelerator.num_processes == 1:
            tensors = save_state(trained, optimizer, sampler, average, best)
            checkpoint.save_loop(key, tensors, {"step": step + 1, **best.facts()})
            saved = time.monotonic()
    if not best.apply():
        average.apply()
    model.eval()
    logger.info("%s: %d steps", name, steps)


def _optimizer(model: nn.Module, options: FitOptions) -> torch.optim.Optimizer:
    """Decay matrices only; biases and norm scales have one dimension."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    try:
        return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
    except RuntimeError:  # no fused form for this device in this version of torch
        return torch.optim.AdamW(groups, lr=options.learning_rate)
