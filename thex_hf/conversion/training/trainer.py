"""One plain training loop, on whatever devices Accelerate finds, and what it can go on from."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor, nn
from tqdm import tqdm
from transformers.utils import logging

from thex_hf.conversion.checkpoint import BETWEEN_SAVES, Checkpoint
from thex_hf.conversion.options import FitOptions
from thex_hf.conversion.training.augment import augment
from thex_hf.conversion.training.batches import Batch, Encoded, collate, shuffled
from thex_hf.errors import DivergenceError

logger = logging.get_logger(__name__)
LossFunction = Callable[[nn.Module, Batch], Tensor]
Evaluate = Callable[[], float]
Tensors = dict[str, Tensor]
CONSTANTS = ("shift", "log_scale", "coefficients", "centres")
"""Names of the few numbers that replacements learn, see ``FitOptions.constants_rate``."""

PRECISION = "ACCELERATE_MIXED_PRECISION"
NO_CHECKPOINT = Checkpoint()
EXPLODED = 1000.0
PATIENCE = 10
"""``PATIENCE`` losses in a row above ``EXPLODED * (1 + least loss)`` count as divergence. One
alone does not: a strange text can do that to a polynomial, and its gradient is clipped."""


class _Loss(nn.Module):
    """The loss as the forward pass of a module, which is what Accelerate can spread and cast."""

    def __init__(self, model: nn.Module, loss_of: LossFunction) -> None:
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, batch: Batch) -> Tensor:
        return self.loss_of(self.model, batch)


def make_accelerator() -> Accelerator:
    """The devices and processes at hand, in the precision that Accelerate was told of."""
    spread = DistributedDataParallelKwargs(find_unused_parameters=True)  # some stages skip parts
    return Accelerator(kwargs_handlers=[spread])


def autocast(accelerator: Accelerator) -> AbstractContextManager[Any]:
    """Products in bfloat16 on a GPU or processor that is made for them.

    Accelerate comes first, where it was told something else than float32, or float32 by
    ``ACCELERATE_MIXED_PRECISION=no``. It is not told: what else trains in this process, before or
    after, would get that precision too, or an error.
    """
    device, told = accelerator.device, accelerator.mixed_precision != "no"
    if told or PRECISION in os.environ or not _has_bfloat16(device):
        context: AbstractContextManager[Any] = accelerator.autocast()
        return context
    return torch.autocast(device.type, torch.bfloat16)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether such products are faster there, not only possible."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    known: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    abilities = known()  # older versions of torch: none
    return device.type == "cpu" and any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


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
    warmup = min(1.0, max(options.warmup, 2 / (steps + 1)))  # a step at least, else it divides by 0
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _rates(optimizer), steps + 1, pct_start=warmup
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
        with autocast(accelerator):
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
    """Decay matrices only: biases and scales have one dimension. Constants may learn faster."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    constants = {
        name: trained.pop(name)
        for name in list(trained)
        if options.constants_rate != 1 and name.rpartition(".")[2] in CONSTANTS
    }
    rest, decay, rate = [*trained.values()], options.weight_decay, options.learning_rate
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": decay, "lr": rate},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0, "lr": rate},
        {
            "params": [*constants.values()],
            "weight_decay": 0.0,
            "lr": rate * options.constants_rate,
        },
    ]
    groups = [group for group in groups if group["params"]]
    try:
        return torch.optim.AdamW(groups, fused=True)
    except RuntimeError:  # no fused form for this device in this version of torch
        return torch.optim.AdamW(groups)


def _rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


class BatchSampler:
    """Deals shuffled batches; with several processes each takes every n-th one."""

    def __init__(
        self,
        generator: torch.Generator,
        shuffle: Callable[[], list[Tensor]],
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.generator, self._shuffle = generator, shuffle
        self._process, self._processes = process, processes
        self.queue: list[Tensor] = []

    def next(self) -> Tensor:
        """Row numbers of the next batch."""
        taken = [self._next() for _ in range(self._processes)]
        return taken[self._process]

    def _next(self) -> Tensor:
        self.queue = self.queue or self._shuffle()
        return self.queue.pop()


class WeightAverage:
    """A running average of the trained weights."""

    def __init__(self, live: list[Tensor], decay: float) -> None:
        self.decay = decay
        self.live = live if decay else []
        self.kept = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after a step."""
        decay = min(self.decay, (step + 1) / (step + 10))
        if self.live:
            torch._foreach_lerp_(self.kept, self.live, 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average in the place of the weights."""
        for live, kept in zip(self.live, self.kept, strict=True):
            live.copy_(kept)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The average in the place of the weights, for a while."""
        before = [p.detach().clone() for p in self.live]
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for live, kept in zip(self.live, before, strict=True):
                    live.copy_(kept)


class BestWeights:
    """The weights that scored best so far, and how long ago that was."""

    def __init__(self, live: list[Tensor], patience: int) -> None:
        self.live, self.patience = live, patience
        self.kept: list[Tensor] = []
        self.value, self.since = -float("inf"), 0

    @property
    def over(self) -> bool:
        """Whether there was no better score for too long."""
        return self.since >= self.patience

    def note(self, value: float) -> bool:
        """Look at a score of the current weights; whether to stop."""
        if value > self.value:
            self.value, self.since = value, 0
            self.kept = [p.detach().clone() for p in self.live]
        else:
            self.since += 1
        return self.over

    @torch.no_grad()
    def apply(self) -> bool:
        """Put the best weights back; False if there was no score."""
        for live, kept in zip(self.live if self.kept else [], self.kept, strict=True):
            live.copy_(kept)
        return bool(self.kept)

    def facts(self) -> dict[str, Any]:
        """Score and age, as JSON values."""
        return {"best": self.value if self.kept else None, "since": self.since}


def save_state(
    trained: list[Tensor],
    optimizer: torch.optim.Optimizer,
    sampler: BatchSampler,
    average: WeightAverage,
    best: BestWeights,
) -> Tensors:
    """Everything a loop needs to go on exactly, as tensors."""
    out: Tensors = {
        "random": torch.get_rng_state(),
        "generator": sampler.generator.get_state(),
        "queue": torch.cat(sampler.queue) if sampler.queue else torch.zeros(0, dtype=torch.long),
        "queue_sizes": torch.tensor([len(rows) for rows in sampler.queue], dtype=torch.long),
    }
    groups = {"weight": trained, "average": average.kept, "best": best.kept}
    for name, tensors in groups.items():
        out |= {f"{name}.{i}": t.detach().cpu().clone() for i, t in enumerate(tensors)}
    for i, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            out[f"moment.{i}.{name}"] = torch.as_tensor(value).detach().cpu().clone()
    return out


@torch.no_grad()
def load_state(
    tensors: Tensors,
    facts: dict[str, Any],
    trained: list[Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    sampler: BatchSampler,
    average: WeightAverage,
    best: BestWeights,
) -> int:
    """Put back what :func:`save_state` wrote; returns the step to go on with."""
    torch.set_rng_state(tensors["random"])
    sampler.generator.set_state(tensors["generator"])
    sizes = tensors["queue_sizes"].tolist()
    sampler.queue = list(torch.split(tensors["queue"], sizes)) if sizes else []
    for name, targets in (("weight", trained), ("average", average.kept)):
        for i, target in enumerate(targets):
            target.copy_(tensors[f"{name}.{i}"])
    if facts["best"] is not None:
        best.value, best.since = facts["best"], facts["since"]
        best.kept = [tensors[f"best.{i}"].to(t.device) for i, t in enumerate(trained)]
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("moment."):
            _, number, name = key.split(".")
            moments.setdefault(int(number), {})[name] = value
    state = optimizer.state_dict()
    for _ in range(facts["step"]):
        schedule.step()
    state = {**optimizer.state_dict(), "state": moments}
    optimizer.load_state_dict(state)
    return int(facts["step"])


class DivergenceGuard:
    """Tells when a loss has run away."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.limit, self.above = math.inf, 0

    def check(self, loss: float, step: int) -> None:
        """Look at the loss of one step.

        Raises:
            DivergenceError: it is not a finite number, or exploded and stayed so.
        """
        where = f"{self.name}: the loss"
        advice = "nothing was saved. Use a lower learning rate or more weight decay."
        if not math.isfinite(loss):
            raise DivergenceError(
                f"{where} became {loss} at step {step + 1} of {self.steps}; {advice}"
            )
        self.above = self.above + 1 if loss > self.limit else 0
        if self.above == PATIENCE:
            raise DivergenceError(
                f"{where} exploded to {loss:.3g} at step {step + 1} of {self.steps}, the "
                f"{PATIENCE}th in a row more than {EXPLODED:.0f} times the least; {advice}"
            )
        self.limit = min(self.limit, EXPLODED * (1.0 + abs(loss)))
