"""Measure how large the values inside a model get on sample texts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from thex_hf.errors import ConversionError
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS
from thex_hf.modeling.layers import LayerTrace
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier

Inputs = dict[str, Tensor]


@torch.no_grad()
def measure_ranges(model: ThexBertClassifier, batches: Iterable[Inputs]) -> list[dict[str, float]]:
    """Record the largest absolute value of each quantity in each layer.

    The rows and columns of padded tokens count too, since the encrypted circuit
    computes them as well; of the last layer of a model that classifies by ``[CLS]`` only that
    row does, as nothing computes the others. In polynomial form the client sends zeros for
    padding, and so does this: what the circuit makes of zeros reaches no logit, since the mask
    multiplies the attention weights, but it must stay within the modulus like everything else.

    Args:
        model: put in evaluation mode, left as it was found.
        batches: tensors ``input_ids`` and ``attention_mask`` ``(batch, seq)``, and
            ``token_type_ids`` where wanted.

    Returns:
        One dictionary a layer with the names in ``RANGE_KEYS``: ``stream_in`` the
        layer's input, ``value`` the value projection, ``scores`` the attention scores
        (before any shift),
        ``attention_out`` and ``layer_out`` the inputs of the two norms, ``ffn_pre`` the
        feed-forward part before its activation.

    Raises:
        ConversionError: there is no batch, or a value is not finite.
    """
    was_training = model.training
    model.eval()
    ranges: list[dict[str, float]] = []
    for batch in batches:
        stream = model.embed(batch["input_ids"], batch.get("token_type_ids"))
        if model.config.form == "polynomial":
            stream = stream * batch["attention_mask"].unsqueeze(-1)
        traces = model.thex_bert.run_layers(stream, batch["attention_mask"])
        every = [computed(model, number, trace) for number, trace in enumerate(traces)]
        seen = [{k: float(v.abs().max()) for k, v in own.items()} for own in every]
        ranges = [_larger(*pair) for pair in zip(ranges or seen, seen, strict=True)]
    model.train(was_training)
    if not ranges:
        raise ConversionError("calibration needs at least one text; none was given.")
    for number, entry in enumerate(ranges):
        bad = [key for key, value in entry.items() if not value < float("inf")]
        if bad:
            raise ConversionError(
                f"layer {number} gives values that are not finite ({', '.join(bad)}): the "
                "model diverged. Train with a lower learning rate or more weight decay."
            )
    return ranges


def computed(model: ThexBertClassifier, layer: int, trace: LayerTrace) -> dict[str, Tensor]:
    """What the encrypted circuit computes of a layer, by the names in ``RANGE_KEYS``.

    Args:
        model: one of our classifiers.
        layer: number of the layer.
        trace: what happened in it.

    Returns:
        ``scores`` ``(batch, heads, q, k)``, ``ffn_pre`` ``(batch, q, m)``, the others ``(batch, q,
        d)``; only ``[CLS]`` asks in the last layer of a model that classifies by it.
    """
    found = {name: getattr(trace, name) for name in RANGE_KEYS}
    if model.head == "cls" and layer == len(model.thex_bert.layers) - 1:
        found |= {name: found[name][:, :1] for name in ("attention_out", "ffn_pre", "layer_out")}
        found["scores"] = found["scores"][:, :, :1]
    return found


def _larger(old: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    """Take the larger of each pair; NaN wins."""
    return {k: old[k] if not new[k] > old[k] and new[k] == new[k] else new[k] for k in old}
