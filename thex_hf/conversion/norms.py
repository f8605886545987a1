"""Put affine maps in the place of layer norms, by least squares."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor

from thex_hf.approximations.layernorm import fit_affine
from thex_hf.approximations.reciprocal import load_reciprocal
from thex_hf.conversion.training.batches import Batch, Encoded, sample
from thex_hf.conversion.training.losses import read_rows, run
from thex_hf.modeling.layers import AffineNorm, CentredNorm, ThexBertLayer

Model = Any

SMALLEST_SCALE = 0.05
"""The circuit divides by the scale of each attention norm, so none may be near zero."""


def copied(model: Model, **changes: Any) -> Model:
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
            rows(student, batches, number, "attention_out"),
            rows(exact, batches, number, "attention_norm"),
        )
        _fit_one(
            cast(AffineNorm, layer.output_norm),
            rows(student, batches, number, "layer_out"),
            rows(exact, batches, number, "layer_norm"),
        )
    clamp_scales(student)


@torch.no_grad()
def clamp_scales(model: Model) -> None:
    """Keep every scale of an attention norm at least ``SMALLEST_SCALE`` from zero."""
    for layer in model.thex_bert.layers:
        scale = cast(Tensor, cast(ThexBertLayer, layer).attention_norm.weight)
        sign = torch.where(scale < 0, -1.0, 1.0)
        scale.copy_(sign * scale.abs().clamp_min(SMALLEST_SCALE))


def rows(model: Model, batches: list[Batch], layer: int, name: str) -> Tensor:
    """Collect one traced quantity of a layer over the tokens that matter, in float64.

    Returns:
        ``(tokens, d)``: of all real tokens; of the first of each text if nothing reads the others.
    """
    device = next(model.parameters()).device
    found: list[Tensor] = []
    for batch in batches:
        moved = {name: tensor.to(device) for name, tensor in batch.items()}
        traces, _ = run(model.eval(), moved)
        values: Tensor = getattr(traces[layer], name)
        found.append(values[read_rows(model, layer, moved) == 1].double())
    return torch.cat(found)


def _fit_one(norm: AffineNorm, inputs: Tensor, targets: Tensor) -> None:
    """Ordinary least squares of targets on inputs, each feature by itself."""
    if isinstance(norm, CentredNorm):
        inputs = inputs - inputs.mean(-1, keepdim=True)
    gamma, beta = fit_affine(inputs.cpu().numpy(), targets.cpu().numpy())
    norm.weight.copy_(torch.from_numpy(gamma))
    norm.bias.copy_(torch.from_numpy(beta))
