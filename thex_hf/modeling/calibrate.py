"""Measure how large the values inside a model get on sample texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from thex_hf._progress import steps
from thex_hf.bounds import SAFETY
from thex_hf.errors import ConversionError, DivergenceError
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS
from thex_hf.modeling.export import weights_digest
from thex_hf.modeling.layers import LayerTrace
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier

Inputs = dict[str, Tensor]
Sizes = list[dict[str, Tensor]]
"""For each layer, by the names in ``RANGE_KEYS``, the largest absolute value of each text."""

LOGIT = "logit"
RAN_AWAY = 1024.0
"""Beyond it values inside a normalised model have run away."""
MOST_LOST = 0.01
"""Share of calibration texts that may run away in a normalised model."""


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
    return _ranges(_largest(text_sizes(model, batch) for batch in batches))


def calibrate_on(
    model: ThexBertClassifier, batches: Sequence[Inputs], strange: Iterable[Inputs] = ()
) -> None:
    """Put ranges, and what they were measured with, into a model's configuration.

    The digest is of the weights as they are now: round them before, not after. A strange text
    widens the ranges as long as its values stay below twice those of the others. One that goes
    beyond has run away: it is counted, and later answers whose logits show it are refused, see
    :mod:`thex_hf.bounds`. In normalised form a usual text may run away too, since a polynomial
    stands for one over a root on an interval only: such texts are counted as ``lost`` and widen
    nothing.

    Args:
        model: as it will be saved.
        batches: as in :func:`measure_ranges`.
        strange: batches of texts that nobody wrote.

    Raises:
        ConversionError: as :func:`measure_ranges` does, or there is something in the model that
            the encrypted encoder would leave out; the configuration is as it was then.
        DivergenceError: too many texts are lost; likewise.
    """
    digest = weights_digest(model.plain(), model.config)
    usual = [text_sizes(model, batch) for batch in steps(batches, "calibrating")]
    lost = 0
    if model.config.form == "normalised":
        usual, lost = _sound(usual)
    seen = _largest(usual)
    ranges = _ranges(seen)
    count, beyond = 0, 0
    limits = [{name: SAFETY * value for name, value in layer.items()} for layer in seen]
    for batch in steps([*strange], "calibrating on strange texts"):
        sizes = text_sizes(model, batch)
        near = torch.stack(
            [
                sizes[i][name] <= most
                for i, layer in enumerate(limits)
                for name, most in layer.items()
            ]
        ).all(0)
        count, beyond = count + len(near), beyond + int((~near).sum())
        if near.any():
            seen = _larger(seen, _largest([_picked(sizes, near)]))
    logit = seen[-1][LOGIT]
    model.config.ranges = _ranges(seen) if count else ranges
    model.config.calibration = {
        "weights": digest,
        "logit": logit,
        "texts": sum(len(batch["input_ids"]) for batch in batches),
        "strange": count,
        "beyond": beyond,
    }
    if lost:
        model.config.calibration["lost"] = lost


def _sound(every: list[Sizes]) -> tuple[list[Sizes], int]:
    """The texts whose values have not run away, and how many have.

    Raises:
        DivergenceError: more than ``MOST_LOST`` of them.
    """
    out, lost, texts = [], 0, 0
    for sizes in every:
        largest = torch.stack([value for layer in sizes for value in layer.values()]).amax(0)
        sound = largest <= RAN_AWAY  # not where it is no number
        texts, lost = texts + len(sound), lost + int((~sound).sum())
        if sound.any():
            out.append(_picked(sizes, sound))
    if lost > MOST_LOST * texts:
        raise DivergenceError(
            f"in {lost} of {texts} calibration texts values inside go beyond {RAN_AWAY:.0f} or are "
            f"no numbers, and at most {MOST_LOST:.0%} may: the variances before the norms leave "
            f"the intervals of their polynomials. Convert with more --effort or a larger "
            f"outside_penalty."
        )
    return out, lost


def _picked(sizes: Sizes, texts: Tensor) -> Sizes:
    """Some texts of a batch, by a mask."""
    return [{name: value[texts] for name, value in layer.items()} for layer in sizes]


def text_sizes(model: ThexBertClassifier, batch: Inputs) -> Sizes:
    """The largest absolute values of each text of a batch, as :func:`measure_ranges` counts them.

    Args:
        model: put in evaluation mode, left as it was found.
        batch: one of those that :func:`measure_ranges` takes.

    Returns:
        For each layer tensors ``(batch,)`` by the names in ``RANGE_KEYS``; that of the last one
        has ``logit`` too.
    """
    return sizes_of(model, *traces_of(model, batch), batch["attention_mask"])


@torch.no_grad()
def traces_of(model: ThexBertClassifier, batch: Inputs) -> tuple[list[LayerTrace], Tensor]:
    """What happens to a batch in every layer as under encryption, and its logits.

    Args:
        model: as in :func:`text_sizes`.
        batch: likewise.
    """
    was_training = model.training
    model.eval()
    mask = batch["attention_mask"]
    stream = model.embed(batch["input_ids"], batch.get("token_type_ids"), mask)
    if model.config.softmax == "power":
        stream = stream * mask.unsqueeze(-1)
    traces = model.thex_bert.run_layers(stream, mask)
    logits = model.classify(traces[-1].layer_norm, mask)
    model.train(was_training)
    return traces, logits


def sizes_of(
    model: ThexBertClassifier, traces: Sequence[LayerTrace], logits: Tensor, mask: Tensor
) -> Sizes:
    """:func:`text_sizes` of what :func:`traces_of` gave for a batch with this mask."""
    if model.every_token:
        logits = torch.where(mask.bool().unsqueeze(-1), logits, 0.0)
    sizes = []
    for number, trace in enumerate(traces):
        values = computed(model, number, trace)
        if model.config.form == "normalised":
            values = {name: _of_true(value, mask) for name, value in values.items()}
        sizes.append({name: _of_each(value) for name, value in values.items()})
    sizes[-1][LOGIT] = _of_each(logits)
    return sizes


def _of_true(values: Tensor, mask: Tensor) -> Tensor:
    """Zeros where a row or a column is padding: a norm's polynomial is not made for its variance.

    Modulo a prime it does not matter how large a number is that the mask makes zero.
    """
    rows = mask[:, : values.shape[-2]].to(values.dtype)
    if values.dim() == 3:
        return values * rows.unsqueeze(-1)
    return values * rows[:, None, :, None] * mask[:, None, None, :].to(values.dtype)


def _of_each(values: Tensor) -> Tensor:
    """The largest absolute value of each text, ``(batch,)``; NaN wins."""
    return values.abs().flatten(1).amax(1)


def _largest(every: Iterable[Sizes]) -> list[dict[str, float]]:
    """Over all texts.

    Raises:
        ConversionError: there are none.
    """
    largest: list[dict[str, float]] = []
    for sizes in every:
        layers = [{name: float(value.max()) for name, value in layer.items()} for layer in sizes]
        largest = _larger(largest, layers) if largest else layers
    if not largest:
        raise ConversionError("calibration needs at least one text; none was given.")
    return largest


def _ranges(seen: list[dict[str, float]]) -> list[dict[str, float]]:
    """The part of it that configurations keep.

    Raises:
        ConversionError: a value is not finite.
    """
    for number, entry in enumerate(seen):
        bad = [key for key, value in entry.items() if not value < float("inf")]
        if bad:
            raise ConversionError(
                f"layer {number} gives values that are not finite ({', '.join(bad)}): the "
                "model diverged. Train with a lower learning rate or more weight decay."
            )
    return [{name: entry[name] for name in RANGE_KEYS} for entry in seen]


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
    values = {name: getattr(trace, name) for name in RANGE_KEYS}
    if model.head == "cls" and layer == len(model.thex_bert.layers) - 1:
        values |= {name: values[name][:, :1] for name in ("attention_out", "ffn_pre", "layer_out")}
        values["scores"] = values["scores"][:, :, :1]
    return values


def _larger(old: list[dict[str, float]], new: list[dict[str, float]]) -> list[dict[str, float]]:
    """Take the larger of each pair; NaN wins."""

    def one(a: float, b: float) -> float:
        return a if not b > a and b == b else b

    return [
        {name: one(value, other[name]) for name, value in layer.items()}
        for layer, other in zip(old, new, strict=True)
    ]
