"""The stages of a conversion to polynomial form: nothing is compared, nothing divided."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from thex_hf.approximations.registry import fit_activation
from thex_hf.approximations.softmax import fit_power
from thex_hf.conversion.norms import copied, fit_least_squares, rows
from thex_hf.conversion.training.batches import Batch, Encoded, sample
from thex_hf.conversion.training.losses import run
from thex_hf.modeling.layers import PowerAttention, Quadratic, ThexBertLayer

Model = Any

POWER_TEXTS = 256
"""How many texts shift and scale of the power attention are fitted on."""


def with_polynomials(exact: Model, power: int, norm: str) -> Model:
    """Copy a model with exact non-linearities to one of polynomial form, same matrices.

    Args:
        exact: GELU or ReLU, softmax and layer norm.
        power: exponent of the attention weights.
        norm: ``"affine"`` or ``"centred"``.
    """
    changes = {"activation": "quadratic", "softmax": "power", "norm": norm}
    return copied(exact, **changes, attention_power=power)


@torch.no_grad()
def fit_start(
    exact: Model, student: Model, data: Encoded, texts: int, activation: str
) -> list[dict[str, Any]]:
    """Set all replacements by least squares and minimax fits, without training.

    Shift and scale of each head follow the exact softmax on the exact scores; activation
    coefficients follow the named fit on the exact model's activations; then the norms are set
    layer by layer, each seeing the error that all before it leaves.

    Args:
        exact: what to follow.
        student: set in place.
        data: texts to fit on.
        texts: how many of them to use for activations and norms.
        activation: a name that :func:`thex_hf.approximations.registry.fit_activation` knows.

    Returns:
        For each layer the interval, coefficients and errors of its activation, and shift and
        scale of its heads, as they start.
    """
    notes: list[dict[str, Any]] = []
    few, batches = sample(data, POWER_TEXTS, size=1), sample(data, texts)
    device = next(exact.parameters()).device
    layers = [cast(ThexBertLayer, layer) for layer in student.thex_bert.layers]
    found = [run(exact, {k: v.to(device) for k, v in batch.items()})[0] for batch in few]
    for number, layer in enumerate(layers):
        scores = [_real(traces[number].scores, b) for traces, b in zip(found, few, strict=True)]
        _fit_heads(cast(PowerAttention, layer.attention.softmax), scores)
        inputs = rows(exact, batches, number, "ffn_pre").cpu().numpy().ravel()
        fitted = fit_activation(activation, inputs, exact.config.activation)
        cast(Quadratic, layer.activation).coefficients.copy_(torch.tensor(fitted.coefficients))
        power = cast(PowerAttention, layer.attention.softmax)
        notes.append(
            {
                "activation": {
                    "name": activation,
                    "coefficients": list(fitted.coefficients),
                    "interval": list(fitted.interval),
                    "largest_error": fitted.largest_error,
                    "weighted_error": fitted.weighted_error,
                },
                "attention": {
                    "power": power.power,
                    "shift": power.shift.tolist(),
                    "scale": power.log_scale.exp().tolist(),
                },
            }
        )
    fit_least_squares(exact, student, data, texts)
    return notes


def _real(scores: Tensor, batch: Batch) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Cut the scores ``(1, heads, q, k)`` of a batch of one text to its true tokens."""
    count = int(batch["attention_mask"].sum())
    return scores[0, :, :count, :count].double().cpu().numpy()


def _fit_heads(
    module: PowerAttention,
    scores: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
) -> None:
    """Fit each head's shift and scale; keys are padded to one length and masked."""
    longest = max(entry.shape[-1] for entry in scores)
    lines = sum(entry.shape[1] for entry in scores)
    heads = module.shift.shape[0]
    table, mask = np.zeros((heads, lines, longest)), np.zeros((lines, longest))
    at = 0
    for entry in scores:
        stop = at + entry.shape[1]
        table[:, at:stop, : entry.shape[2]] = entry
        mask[at:stop, : entry.shape[2]] = 1.0
        at = stop
    for head in range(heads):
        shift, scale = fit_power(table[head], mask, module.power)
        module.shift[head] = shift
        module.log_scale[head] = float(np.log(scale))
