"""The norms inside the layers of a THE-X BERT."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from thex_hf.approximations.layernorm import inverse_root
from thex_hf.errors import ConversionError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig


class AffineNorm(nn.Module):
    """``gamma * x + beta``: layer norm without mean and variance (THE-X, section 3.2)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(..., d)`` to ``(..., d)``."""
        return values * self.weight + self.bias


class CentredNorm(AffineNorm):
    """``gamma * (x - mean(x)) + beta``: the affine norm that keeps layer norm's mean."""

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(..., d)`` to ``(..., d)``; the mean is over the last axis."""
        return super().forward(values - values.mean(-1, keepdim=True))


class ChebyshevNorm(AffineNorm):
    """``gamma * (x - mean(x)) * P(v) + beta`` with a polynomial ``P`` of the variance ``v``.

    ``P(v) = sum_k c_k T_k(u)`` with learned ``c`` and ``u`` from -1 to 1 on the interval of the
    variances seen: it starts as the best approximation of ``1 / sqrt(v)`` there. The interval is
    two numbers among the weights that are not trained.

    Beyond the interval a polynomial grows with its degree, and from layer to layer. In training
    mode a variance above the interval has the exact root, so that a loss stays finite while the
    variances are led inside; in evaluation mode, as under encryption, nothing guards it.
    """

    interval: Tensor

    def __init__(self, features: int, degree: int) -> None:
        super().__init__(features)
        self.coefficients = nn.Parameter(torch.empty(degree + 1))
        self.register_buffer("interval", torch.empty(2))
        self.reset_polynomial()

    def reset_polynomial(self, low: float = 0.1, high: float = 3.0) -> float:
        """Start anew on an interval; returns the largest relative error of ``1 / sqrt(v)``.

        The interval's ends become float16 numbers, so that a file of either type has the same.

        Raises:
            ConversionError: they are no two rising positive numbers there.
        """
        with np.errstate(over="ignore"):
            ends = [float(np.float16(end)) for end in (low, high)]
        if not 0 < ends[0] < ends[1] < math.inf:
            raise ConversionError(
                f"a norm's variances should lie between two positive numbers that float16 can tell "
                f"apart; got {low:g} and {high:g}. Convert on more texts, or scale the model."
            )
        fitted, error = inverse_root(*ends, len(self.coefficients) - 1)
        with torch.no_grad():
            self.interval.copy_(torch.tensor(ends))
            self.coefficients.copy_(torch.tensor(fitted))
        return error

    def forward(self, values: Tensor) -> Tensor:
        """Map ``(..., d)`` to ``(..., d)``; mean and variance are over the last axis."""
        centred = values - values.mean(-1, keepdim=True)
        root = self.root(centred.square().mean(-1, keepdim=True))
        return super().forward(centred * root)

    def root(self, variance: Tensor) -> Tensor:
        """What stands for ``1 / sqrt(v)`` at each element."""
        if self.training:
            high = self.interval[1]
            inside = self._polynomial(torch.minimum(variance, high))
            return torch.where(variance > high, variance.clamp_min(high).rsqrt(), inside)
        return self._polynomial(variance)

    def _polynomial(self, variance: Tensor) -> Tensor:
        low, high = self.interval
        u = (2 * variance - low - high) / (high - low)
        before, this = torch.ones_like(u), u
        total: Tensor = self.coefficients[0] + self.coefficients[1] * u
        for coefficient in self.coefficients[2:]:
            before, this = this, 2 * u * this - before
            total = total + coefficient * this
        return total


def make_norm(config: ThexBertConfig, degree: int = 0) -> nn.Module:
    """Build the norm that the configuration names; ``degree`` is of a ``chebyshev`` one."""
    if config.norm == "affine":
        return AffineNorm(config.hidden_size)
    if config.norm == "chebyshev" and degree:
        return ChebyshevNorm(config.hidden_size, degree)
    if config.norm in ("centred", "chebyshev"):
        return CentredNorm(config.hidden_size)
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
