"""The stages of a conversion to polynomial form: nothing is compared, nothing divided."""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from thex_hf.approx.power import fit_power
from thex_hf.approx.registry import fit_activation
from thex_hf.conversion.batches import Batch, Encoded, sample
from thex_hf.conversion.losses import LossOptions, masked_error, run, score_distance, value_loss
from thex_hf.conversion.norms import clamp_scales, fit_least_squares, rows
from thex_hf.conversion.trainer import FitOptions, fit
from thex_hf.modeling import ThexBertForSequenceClassification
from thex_hf.modeling.layers import PowerAttention, Quadratic, ThexBertLayer

Model = ThexBertForSequenceClassification

POWER_TEXTS = 256
"""How many texts shift and scale of the power attention are fitted on."""

SCORE_SHARE = 0.05
"""Weight of the attention scores beside the layer outputs in layer-wise distillation."""


def with_polynomials(exact: Model, power: int, norm: str) -> Model:
    """Copy a model with exact non-linearities to one of polynomial form, same matrices.

    Args:
        exact: GELU or ReLU, softmax and layer norm.
        power: exponent of the attention weights.
        norm: ``"affine"`` or ``"centred"``.
    """
    config = copy.deepcopy(exact.config)
    config.activation, config.softmax, config.norm = "quadratic", "power", norm
    config.attention_power = power
    student = Model(config)
    student.load_state_dict(exact.state_dict(), strict=False)
    student.to(next(exact.parameters()).device).eval()
    return student


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
        activation: a name that :func:`thex_hf.approx.registry.fit_activation` knows.

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


def distil_layers(
    exact: Model, student: Model, data: Encoded, fitting: FitOptions, losses: LossOptions
) -> None:
    """Train each layer by itself to follow the exact one, fed the exact model's stream.

    Errors of one layer cannot reach the next, so nothing runs away while the polynomials are
    still rough. The last layer is judged by its ``[CLS]`` row only, which is all that is used.

    Args:
        exact: what to follow; left unchanged.
        student: trained in place.
        data: training texts.
        fitting: how long and how fast.
        losses: whose ``value_limit`` and ``value_penalty`` hold here too, in all rows.
    """
    layers = [cast(ThexBertLayer, layer) for layer in student.thex_bert.layers]
    exact.eval().requires_grad_(False)

    def loss_of(net: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            targets, _ = run(exact.to(batch["input_ids"].device), batch)
        net.eval()  # no dropout: outputs are compared
        mask = batch["attention_mask"].to(targets[0].stream_in.dtype)
        traces = [
            layer(target.stream_in, mask)[1] for layer, target in zip(layers, targets, strict=True)
        ]
        total = SCORE_SHARE * score_distance(traces, targets, batch)
        total = total + value_loss(traces, batch, losses)
        for number, (trace, target) in enumerate(zip(traces, targets, strict=True)):
            cut = slice(0, 1) if number == len(layers) - 1 else slice(None)
            part = {"attention_mask": batch["attention_mask"][:, cut]}
            total = total + masked_error(trace.layer_norm[:, cut], target.layer_norm[:, cut], part)
        return total

    fit(student, loss_of, data, fitting, "layer-wise distillation")
    exact.requires_grad_(True)
    clamp_scales(student)
