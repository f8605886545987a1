"""Keep the variances that enter norms close together, so that a polynomial can stand for a root."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thex_hf.conversion.stage_options import LossOptions
from thex_hf.conversion.training.batches import Batch
from thex_hf.conversion.training.losses import read_rows
from thex_hf.modeling.layers import LayerTrace

Interval = tuple[float, float]
LEAST_VARIANCE = 1e-9
"""Added before a logarithm is taken."""

NO_INTERVAL = (-math.inf, math.inf)
"""That of a norm which divides by no polynomial."""


class Spread(nn.Module):
    """What variances are held to: learned centres, and intervals once there are some.

    Args:
        centres: of each norm, layer by layer, where to begin: logarithms of variances.
        intervals: of each norm the least and the largest logarithm; None before they are chosen.
    """

    intervals: Tensor | None

    def __init__(
        self, centres: Sequence[float], intervals: Sequence[Interval] | None = None
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.tensor(centres))
        self.register_buffer("intervals", None if intervals is None else torch.tensor(intervals))

    def forward(
        self, model: Any, traces: Sequence[LayerTrace], batch: Batch, losses: LossOptions
    ) -> Tensor:
        """The penalty, a scalar: a sum over the norms; only rows count that something reads.

        Args:
            model: one of our classifiers.
            traces: what happened in its layers.
            batch: says which rows are read.
            losses: ``spread_penalty`` weighs the mean squared excess of the distance from a centre
                over ``spread_limit``; ``outside_penalty`` the squared excess beyond an interval,
                ``interval_margin`` cut from its ends, of the worst token of each text.
        """
        total = torch.zeros((), device=self.centres.device)
        place = 0
        for number, trace in enumerate(traces):
            rows = read_rows(model, number, batch)
            for logs in log_variances(trace):
                far = torch.relu((logs - self.centres[place]).abs() - losses.spread_limit) ** 2
                total = total + losses.spread_penalty * (far * rows).sum() / rows.sum()
                if self.intervals is not None:
                    out = torch.relu(beyond(logs, self.intervals[place], losses))
                    worst = (out**2 * rows).amax(-1).mean()
                    total = total + losses.outside_penalty * worst
                place += 1
        return total


class Bounded(nn.Module):
    """A model and what its variances are held to, trained together."""

    def __init__(self, model: nn.Module, spread: Spread) -> None:
        super().__init__()
        self.model, self.spread = model, spread


def beyond(logs: Tensor, interval: Tensor, losses: LossOptions) -> Tensor:
    """How far logarithms of variances are beyond an interval, ``interval_margin`` cut from it.

    Negative inside.
    """
    low, high = interval.to(logs)
    lower, upper = losses.interval_margin
    return torch.maximum(low + lower - logs, logs - high + upper)


def farthest(
    model: Any,
    traces: Sequence[LayerTrace],
    batch: Batch,
    intervals: Tensor,
    losses: LossOptions,
) -> Tensor:
    """How far the worst variance of each text is :func:`beyond` an interval, ``(batch,)``.

    Only rows count that something reads.

    Args:
        model: one of our classifiers.
        traces: what happened in its layers.
        batch: says which rows are read.
        intervals: ``(norms, 2)``, see :class:`Spread`.
        losses: ``interval_margin`` counts.
    """
    found: list[Tensor] = []
    for number, trace in enumerate(traces):
        rows = read_rows(model, number, batch).bool()
        for logs in log_variances(trace):
            out = beyond(logs, intervals[len(found)], losses)
            found.append(out.masked_fill(~rows, -math.inf).amax(-1))
    return torch.stack(found).amax(0)


def log_variances(trace: LayerTrace) -> tuple[Tensor, Tensor]:
    """Logarithms of the variances that enter the two norms of a layer, each ``(batch, seq)``."""
    return log_variance(trace.attention_out), log_variance(trace.layer_out)


def log_variance(values: Tensor) -> Tensor:
    """``log(v + LEAST_VARIANCE)`` of the last axis: ``(..., d)`` to ``(...)``, in float32."""
    out: Tensor = LogVariance.apply(values.float())  # type: ignore[no-untyped-call]
    return out


class LogVariance(torch.autograd.Function):
    """:func:`log_variance` by the kernel of the layer norm.

    That one passes over the values once, and what it returns is the gradient but for a factor.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Map ``(..., d)`` to ``(...)``."""
        width = values.shape[-1:]
        normed, _, root = torch.native_layer_norm(values, width, None, None, LEAST_VARIANCE)
        ctx.save_for_backward(normed, root)
        return -2 * torch.log(root.squeeze(-1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Map ``(...)`` to ``(..., d)``: ``2 (x - mean) / (d (v + LEAST_VARIANCE))``."""
        normed, root = ctx.saved_tensors
        out: Tensor = normed * (root * (2 / normed.shape[-1] * gradients[0].unsqueeze(-1)))
        return out
