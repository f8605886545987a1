"""Put polynomials of the variance in the place of one over the deviation, in a model's norms."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from thex_hf._progress import steps
from thex_hf.approximations.layernorm import inverse_root
from thex_hf.conversion.options import NormalisedOptions
from thex_hf.conversion.replacements import copy_model
from thex_hf.conversion.training.augment import strange_batches
from thex_hf.conversion.training.batches import Encoded
from thex_hf.conversion.training.spread import NO_INTERVAL, Interval, Spread, log_variances
from thex_hf.conversion.walking import Walk, fit_batches
from thex_hf.modeling.norms import ChebyshevNorm

Model = Any
Variances = list[NDArray[np.float64]]
"""Logarithms of the variances seen before each norm, layer by layer."""

CONVERTED = {"activation": "quadratic", "softmax": "power", "norm": "chebyshev"}


def check_degrees(exact: Model, settings: NormalisedOptions) -> list[list[int]]:
    """The degrees of the norms of each layer.

    Raises:
        ConversionError: they do not fit the model.
    """
    pairs = settings.norm_degrees or ((settings.norm_degree,) * 2,) * len(exact.thex_bert.layers)
    degrees = [list(pair) for pair in pairs]
    config = {**exact.config.to_dict(), **CONVERTED, "norm_degrees": degrees}
    type(exact.config)(**config)  # looks at them
    return degrees


def copy_normalised(student: Model, degrees: list[list[int]]) -> Model:
    """Copy a model with layer norms to one of normalised form; its roots are not fitted."""
    return copy_model(student, norm="chebyshev", norm_degrees=degrees)


@torch.no_grad()
def measure_variances(
    model: Model, data: Encoded, texts: int, settings: NormalisedOptions, seed: int
) -> Variances:
    """See which variances enter the norms of a model, on usual and on strange texts.

    Only rows count that something reads.

    Args:
        model: of ours.
        data: texts to take some of.
        texts: how many at most.
        settings: say how many strange ones are added.
        seed: of these.
    """
    usual = fit_batches(data, texts)
    count = round(settings.strange_share * sum(len(batch["input_ids"]) for batch in usual))
    walk = Walk(model, [*usual, *(strange_batches(data, count, seed) if count else [])])
    found: Variances = []
    for _ in steps(model.thex_bert.layers, "measuring variances"):
        both: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for rows, trace in walk.step():
            for parts, logs in zip(both, log_variances(trace), strict=True):
                parts.append(logs[rows].double())
        found += [torch.cat(parts).cpu().numpy() for parts in both]
    return found


def norms_of(model: Model) -> list[nn.Module]:
    """The norms inside the layers of a model, in the order of :data:`Variances`."""
    layers = model.thex_bert.layers
    return [norm for layer in layers for norm in (layer.attention_norm, layer.output_norm)]


def spread_around(variances: Variances, student: Model | None = None) -> Spread:
    """What training holds variances to: medians, and the intervals of a student that has some."""
    intervals = None if student is None else [_ends(norm) for norm in norms_of(student)]
    return Spread([float(np.median(logs)) for logs in variances], intervals)


def _ends(norm: nn.Module) -> Interval:
    if not isinstance(norm, ChebyshevNorm):
        return NO_INTERVAL
    low, high = norm.interval.tolist()
    return math.log(low), math.log(high)


def interval_of(logs: NDArray[np.float64], settings: NormalisedOptions) -> tuple[float, float]:
    """The interval of one norm's polynomial, see :class:`NormalisedOptions`."""
    least, most = np.exp(np.quantile(logs, settings.quantiles))
    low = float(least) * settings.widening[0]
    return low, min(float(most) * settings.widening[1], low * settings.most_ratio)


@torch.no_grad()
def fit_roots(student: Model, variances: Variances, settings: NormalisedOptions) -> None:
    """Fit every norm's polynomial on the interval of its variances, in place.

    A norm of degree 0 divides by the deviation at the median, once and for all.

    Raises:
        ConversionError: variances that no float16 number is near to.
    """
    for norm, logs in zip(norms_of(student), variances, strict=True):
        if isinstance(norm, ChebyshevNorm):
            norm.reset_polynomial(*interval_of(logs, settings))
        else:
            cast(Any, norm).weight.mul_(math.exp(-0.5 * float(np.median(logs))))


def describe_roots(student: Model) -> list[dict[str, Any]]:
    """For each layer interval, degree and largest relative error of its norms, as fitted."""
    described = []
    for norm in norms_of(student):
        if isinstance(norm, ChebyshevNorm):
            low, high = norm.interval.tolist()
            degree = len(norm.coefficients) - 1
            error = inverse_root(low, high, degree)[1]
            described.append({"degree": degree, "interval": [low, high], "largest_error": error})
        else:
            described.append({"degree": 0})
    names = ("attention_norm", "output_norm")
    pairs = zip(described[::2], described[1::2], strict=True)
    return [dict(zip(names, pair, strict=True)) for pair in pairs]
