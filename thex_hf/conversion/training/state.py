"""What a training loop holds besides the model, and how it is written down and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


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
