"""Put affine maps and polynomials in the place of a model's non-linearities, by least squares."""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thex_hf._progress import steps
from thex_hf.approximations.activation_registry import fit_activation
from thex_hf.approximations.layernorm import fit_affine
from thex_hf.approximations.softmax import fit_power, load_reciprocal
from thex_hf.conversion.training.batches import Encoded
from thex_hf.conversion.walking import Walk, fit_batches
from thex_hf.modeling.layers import PowerAttention, Quadratic, ThexBertLayer
from thex_hf.modeling.norms import AffineNorm, CentredNorm

Model = Any
Array = NDArray[np.float64]
SMALLEST_SCALE = 0.05
"""The circuit divides by the scale of each attention norm, so none may be near zero."""

POWER_TEXTS, POWER_TOKENS = 256, 8192
"""How many texts, with how many tokens, shift and scale of the power attention are fitted on."""

MOST_VALUES = 1 << 24
"""How many values of a layer its activation is fitted on."""


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
    the classifier reads do: the first row is unlike all others. Each layer is run three times,
    however many there are.

    Args:
        exact: model with layer norms, whose outputs are the targets.
        student: model with affine norms, set in place.
        data: texts to fit on.
        texts: how many of them to use at most, see :func:`thex_hf.conversion.walking.fit_batches`.
    """
    batches = fit_batches(data, texts)
    leader, follower = Walk(exact, batches), Walk(student, batches)
    for _ in steps(student.thex_bert.layers, "fitting norms"):
        middles, outs, _ = _follow_exact(leader)
        _fit_norms(follower, middles, outs)
    clamp_scales(student)


def _follow_exact(walk: Walk) -> tuple[Tensor, Tensor, Array]:
    """Lead an exact model's walk through a layer.

    Returns:
        Outputs of its two norms, ``(rows, d)``, and values before its activation, thinned to about
        ``MOST_VALUES``.
    """
    middles, outs, values = [], [], []
    rows_of_all = sum(int(batch["attention_mask"].sum()) for batch in walk.batches)
    every = -(-rows_of_all * walk.layer.up.out_features // MOST_VALUES)
    for rows, trace in walk.step():
        middles.append(trace.attention_norm[rows].double())
        outs.append(trace.layer_norm[rows].double())
        values.append(trace.ffn_pre[rows].flatten()[::every].double())
    return torch.cat(middles), torch.cat(outs), torch.cat(values).cpu().numpy()


def _fit_norms(walk: Walk, middles: Tensor, outs: Tensor) -> None:
    """Fit both norms of a student's next layer to outputs of exact ones, and lead it on."""
    layer = walk.layer
    _fit_one(cast(AffineNorm, layer.attention_norm), walk.collect("attention_out"), middles)
    inputs, before = [], []
    for rows, trace in walk.look():
        inputs.append(trace.layer_out[rows].double())
        before.append(trace.layer_out)
    _fit_one(cast(AffineNorm, layer.output_norm), torch.cat(inputs), outs)
    walk.move([layer.output_norm(values) for values in before])


@torch.no_grad()
def clamp_scales(model: Model) -> None:
    """Keep every scale of an attention norm at least ``SMALLEST_SCALE`` from zero."""
    for layer in model.thex_bert.layers:
        scale = cast(Tensor, cast(ThexBertLayer, layer).attention_norm.weight)
        sign = torch.where(scale < 0, -1.0, 1.0)
        scale.copy_(sign * scale.abs().clamp_min(SMALLEST_SCALE))


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
    coefficients follow the named fit on the exact model's activations; then the norms, unless they
    are layer norms, are set layer by layer, each seeing the error that all before it leaves.

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
    batches = fit_batches(data, texts)
    leader = Walk(exact, batches)
    follower = Walk(student, batches) if student.config.norm in ("affine", "centred") else None
    few = Walk(exact, fit_batches(data, POWER_TEXTS, POWER_TOKENS))
    for module in steps(student.thex_bert.layers, "fitting replacements"):
        layer = cast(ThexBertLayer, module)
        _fit_heads(cast(PowerAttention, layer.attention.softmax), _scores(few))
        middles, outs, values = _follow_exact(leader)
        fitted = fit_activation(activation, values, exact.config.activation)
        cast(Quadratic, layer.activation).coefficients.copy_(torch.tensor(fitted.coefficients))
        if follower:
            _fit_norms(follower, middles, outs)
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
    if follower:
        clamp_scales(student)
    return records


def _scores(walk: Walk) -> list[Array]:
    """Scores of each text in the next layer, cut to its true tokens ``(heads, q, k)``."""
    found = []
    for batch, (_, trace) in zip(walk.batches, walk.step(), strict=True):
        for scores, count in zip(
            trace.scores, batch["attention_mask"].sum(-1).tolist(), strict=True
        ):
            found.append(scores[:, :count, :count].double().cpu().numpy())
    return found


def _fit_heads(
    module: PowerAttention,
    scores: list[Array],
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
