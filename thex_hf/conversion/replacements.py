"""Put affine maps and polynomials in the place of a model's non-linearities, by least squares."""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from thex_hf.approximations.activation_registry import fit_activation
from thex_hf.approximations.layernorm import fit_affine
from thex_hf.approximations.softmax import fit_power, load_reciprocal
from thex_hf.conversion.training.batches import Batch, Encoded, sample
from thex_hf.conversion.training.losses import read_rows, run
from thex_hf.modeling.layers import (
    AffineNorm,
    CentredNorm,
    PowerAttention,
    Quadratic,
    ThexBertLayer,
)

Model = Any
SMALLEST_SCALE = 0.05
"""The circuit divides by the scale of each attention norm, so none may be near zero."""

POWER_TEXTS = 256
"""How many texts shift and scale of the power attention are fitted on."""


def copy_model(model: Model, **changes: Any) -> Model:
    """Copy a classifier of ours to one with other replacements and the same matrices.

    Args:
        model: what to copy.
        **changes: fields of its configuration, such as ``norm="affine"``. What a replacement has
            beyond the model's own tensors starts at its fixed values.
    """
    config = copy.deepcopy(model.config)
    for name, value in changes.items():
        setattr(config, name, value)
    if config.softmax == "estimate":
        config.reciprocal = load_reciprocal().fingerprint()
    student = type(model)(config)
    student.load_state_dict(model.state_dict(), strict=False)
    student.to(next(model.parameters()).device).eval()
    return student


@torch.no_grad()
def fit_least_squares(exact: Model, student: Model, data: Encoded, texts: int) -> None:
    """Set each affine norm to the best line from its input to the exact norm's output.

    Feature by feature, in the order of the layers: later fits see the error that
    earlier ones leave. Padded tokens do not count, and in the last layer only the rows that
    the classifier reads do: the first row is unlike all others.

    Args:
        exact: model with layer norms, whose outputs are the targets.
        student: model with affine norms, set in place.
        data: texts to fit on.
        texts: how many of them to use, spread evenly over the data.
    """
    batches = sample(data, texts)
    for number in range(len(student.thex_bert.layers)):
        layer = cast(ThexBertLayer, student.thex_bert.layers[number])
        _fit_one(
            cast(AffineNorm, layer.attention_norm),
            layer_values(student, batches, number, "attention_out"),
            layer_values(exact, batches, number, "attention_norm"),
        )
        _fit_one(
            cast(AffineNorm, layer.output_norm),
            layer_values(student, batches, number, "layer_out"),
            layer_values(exact, batches, number, "layer_norm"),
        )
    clamp_scales(student)


@torch.no_grad()
def clamp_scales(model: Model) -> None:
    """Keep every scale of an attention norm at least ``SMALLEST_SCALE`` from zero."""
    for layer in model.thex_bert.layers:
        scale = cast(Tensor, cast(ThexBertLayer, layer).attention_norm.weight)
        sign = torch.where(scale < 0, -1.0, 1.0)
        scale.copy_(sign * scale.abs().clamp_min(SMALLEST_SCALE))


def layer_values(model: Model, batches: list[Batch], layer: int, name: str) -> Tensor:
    """Collect one traced quantity of a layer over the tokens that matter, in float64.

    Returns:
        ``(tokens, d)``: of all real tokens; of the first of each text if nothing reads the others.
    """
    device = next(model.parameters()).device
    parts: list[Tensor] = []
    for batch in batches:
        moved = {name: tensor.to(device) for name, tensor in batch.items()}
        traces, _ = run(model.eval(), moved)
        values: Tensor = getattr(traces[layer], name)
        parts.append(values[read_rows(model, layer, moved) == 1].double())
    return torch.cat(parts)


def _fit_one(norm: AffineNorm, inputs: Tensor, targets: Tensor) -> None:
    """Ordinary least squares of targets on inputs, each feature by itself."""
    if isinstance(norm, CentredNorm):
        inputs = inputs - inputs.mean(-1, keepdim=True)
    gamma, beta = fit_affine(inputs.cpu().numpy(), targets.cpu().numpy())
    norm.weight.copy_(torch.from_numpy(gamma))
    norm.bias.copy_(torch.from_numpy(beta))


def copy_polynomial(exact: Model, power: int, norm: str) -> Model:
    """Copy a model with exact non-linearities to one of polynomial form, same matrices.

    Args:
        exact: GELU or ReLU, softmax and layer norm.
        power: exponent of the attention weights.
        norm: ``"affine"`` or ``"centred"``.
    """
    changes = {"activation": "quadratic", "softmax": "power", "norm": norm}
    return copy_model(exact, **changes, attention_power=power)


@torch.no_grad()
def fit_replacements(
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
        activation: a name that :func:`thex_hf.approximations.activation_registry.fit_activation`
            knows.

    Returns:
        For each layer the interval, coefficients and errors of its activation, and shift and
        scale of its heads, as they start.
    """
    records: list[dict[str, Any]] = []
    few, batches = sample(data, POWER_TEXTS, size=1), sample(data, texts)
    device = next(exact.parameters()).device
    layers = [cast(ThexBertLayer, layer) for layer in student.thex_bert.layers]
    all_traces = [run(exact, {k: v.to(device) for k, v in batch.items()})[0] for batch in few]
    for number, layer in enumerate(layers):
        scores = [
            _real(traces[number].scores, b) for traces, b in zip(all_traces, few, strict=True)
        ]
        _fit_heads(cast(PowerAttention, layer.attention.softmax), scores)
        inputs = layer_values(exact, batches, number, "ffn_pre").cpu().numpy().ravel()
        fitted = fit_activation(activation, inputs, exact.config.activation)
        cast(Quadratic, layer.activation).coefficients.copy_(torch.tensor(fitted.coefficients))
        power = cast(PowerAttention, layer.attention.softmax)
        records.append(
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
    return records


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
