"""How long a conversion will take: from a few timed steps, mended by every stage that ends."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.utils import logging

from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.options import ConversionOptions, FitOptions
from thex_hf.conversion.scores import ask
from thex_hf.conversion.training.augment import augment
from thex_hf.conversion.training.batches import Encoded, collate, shuffled

logger = logging.get_logger(__name__)
Announce = Callable[[str], None]
"""Is told a line about what will come and how long it will take."""

TIMED = 3
"""Steps that are timed, after one that is not."""

BATCH = 64
"""Texts a batch, where a model is only asked."""

PASSES_OF_FIT = 3
FITS = "fits"
STAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "the-x": {
        "bounded": ("bounding",),
        "relu": ("relu",),
        "relu_softmax": ("softmax",),
        "affine": (FITS, "norms"),
        "layer_wise": ("layer_wise",),
        "converted": ("end_to_end",),
    },
    "polynomial": {
        "bounded": ("bounding",),
        "fitted": (FITS,),
        "layer_wise": ("layer_wise",),
        "converted": ("end_to_end", "steadying"),
    },
    "normalised": {
        "fitted": (FITS,),
        "layer_wise": ("layer_wise",),
        "layer_norms": ("layer_norms",),
        "roots": (FITS,),
        "converted": ("end_to_end", "steadying"),
    },
}
"""The stages of each form in order, and which fields of its options they follow."""


@dataclass
class Work:
    """What a stage will do: steps of training, and batches that a model is asked about."""

    steps: int = 0
    passes: int = 0


Plan = dict[str, Work]


def plan_stages(options: ConversionOptions, texts: int, checkpoint: Checkpoint) -> Plan:
    """The stages of one recipe that are still to be done, by name, in order.

    Args:
        options: of the conversion.
        texts: to train with.
        checkpoint: where finished stages are kept.
    """
    plan: Plan = {}
    for stage, names in STAGES[options.form].items():
        work = Work()
        for name in names:
            if name == FITS:
                work.passes = PASSES_OF_FIT * -(-min(texts, options.norm_texts) // BATCH)
                continue
            fitting: FitOptions = getattr(options.stages, name)
            rounds: int = getattr(options.stages, "rounds", 1) if name == "steadying" else 1
            work.steps += rounds * fitting.steps(texts) if fitting.epochs else 0
        if (work.steps or work.passes) and not checkpoint.has_stage(stage):
            plan[stage] = work
    return plan


@dataclass
class Clock:
    """Tells how long stages took, and about how long those to come will take.

    ``seconds`` has what each stage took so far in this process, by name.
    """

    announce: Announce = logger.info
    seconds: dict[str, float] = field(default_factory=dict)
    _left: dict[str, float] = field(default_factory=dict)
    _expected: float = 0.0
    _taken: float = 0.0

    def begin(self, plans: Iterable[Plan], step: float, ask: float) -> None:
        """Say what there is to do.

        Args:
            plans: one after the other.
            step: seconds for a step of training.
            ask: seconds to ask a model about a batch.
        """
        parts: dict[str, int] = {}
        for plan in plans:
            for name, work in plan.items():
                seconds = work.steps * step + work.passes * ask
                self._left[name] = self._left.get(name, 0.0) + seconds
                parts[name] = parts.get(name, 0) + work.steps
        listed = ", ".join(
            f"{name} {f'{steps} steps ' if steps else ''}{spoken(self._left[name])}"
            for name, steps in parts.items()
        )
        total = spoken(sum(self._left.values()))
        self.announce(f"about {total} of work at {step:.2g} s a step: {listed}")

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage; its end mends the forecast of those to come."""
        start = time.perf_counter()
        yield
        taken = time.perf_counter() - start
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + taken, 1)
        expected = self._left.pop(stage, None)
        if expected is None:
            return
        self._expected, self._taken = self._expected + expected, self._taken + taken
        if self._left:
            self.announce(f"{stage} took {spoken(taken)}; about {spoken(self.left)} left")

    @property
    def left(self) -> float:
        """Seconds of the stages to come, at the pace of those that ended."""
        pace = self._taken / self._expected if self._expected else 1.0
        return pace * sum(self._left.values())


def spoken(seconds: float) -> str:
    """A time in words, as exact as a forecast is."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def time_steps(
    model: Any, data: Encoded, fitting: FitOptions, device: torch.device
) -> tuple[float, float]:
    """Time a few steps such as a stage has that follows a model; nothing is changed.

    Args:
        model: a classifier, ours or not.
        data: training texts.
        fitting: how a stage disturbs them, and how many it takes at once.
        device: where training will be.

    Returns:
        Seconds for a step (a batch is made, a model is asked, another one trained), and to ask a
        model about a batch.
    """
    home = next(model.parameters()).device
    generator = torch.Generator().manual_seed(fitting.seed)
    model.to(device).eval()
    whole, asked = [], []
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    for parameter in frozen:  # as those under an adapter: a stage trains them all
        parameter.requires_grad_(True)
    with torch.random.fork_rng():
        for rows in shuffled(data, fitting.batch_size, generator)[: TIMED + 1]:
            start = time.perf_counter()
            batch = augment(collate(data, rows), data, fitting, generator)
            batch = {name: values.to(device) for name, values in batch.items()}
            before = time.perf_counter()
            with torch.no_grad():
                ask(model, batch).sum().item()
            asked.append(time.perf_counter() - before)
            loss = ask(model, batch).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            loss.item()
            whole.append(time.perf_counter() - start)
    model.zero_grad(set_to_none=True)
    for parameter in frozen:
        parameter.requires_grad_(False)
    model.to(home)
    later = slice(1 if len(whole) > 1 else 0, None)  # the first one is slow
    share = BATCH / fitting.batch_size
    return statistics.median(whole[later]), share * statistics.median(asked[later])
