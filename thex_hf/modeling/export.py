"""From a THE-X torch model to plain numpy weights, or why the two would not be one model.

The export reads the weights of the modules it knows. A wrapped layer, a hook or a further
parameter changes what the torch model answers and is none of these; and weights that changed since
calibration do not fit the ranges that the circuit is sized by.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.utils import logging

from thex_hf.errors import ConversionError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.layers import PowerAttention, Quadratic, ThexBertLayer
from thex_hf.modeling.norms import CentredNorm, ChebyshevNorm
from thex_hf.modeling.relative import RelativeScores
from thex_hf.weights import (
    Array,
    EncoderWeights,
    InverseRoot,
    LayerWeights,
    PolynomialTerms,
    tensors_digest,
)

HOOKS = ("_forward_hooks", "_forward_pre_hooks")
OWN = ("forward", "classify", "read", "embed")
WRAPPED = ("_hf_hook", "_original_forward")
"""Marks of accelerate's wrappers, which move tensors or cast them and change no function."""

DECIDES = (
    "activation",
    "norm",
    "attention_power",
    "pooling",
    "num_attention_heads",
    "layer_norm_eps",
)
"""Fields of the configuration that decide, with the weights, how large values get.

``softmax`` is not among them: a model in THE-X form may be run with either of its two.
"""

logger = logging.get_logger(__name__)
HOW = "thex_hf.calibrate(model, texts, tokenizer=tokenizer), or thex-hf calibrate MODEL DATA"


def to_array(tensor: Tensor | nn.Module) -> Array:
    """Copy a tensor to float64 numpy."""
    assert isinstance(tensor, Tensor)
    return np.array(tensor.detach().cpu().double().numpy(), dtype=np.float64)


def export_weights(
    config: ThexBertConfig,
    layers: list[ThexBertLayer],
    classifier: nn.Linear,
    head: str = "cls",
    relative: RelativeScores | None = None,
) -> EncoderWeights:
    """Collect layers and classifier as the record that the encrypted side reads.

    Args:
        config: its form must not be ``"unconverted"``.
        layers: the encoder layers, first to last.
        classifier: the linear head.
        head: what it reads: ``"cls"``, the first row; ``"mean"``, the mean over true tokens;
            ``"tokens"``, every row.
        relative: what is added to scores by distance.

    Returns:
        Float64 copies; see :class:`thex_hf.weights.EncoderWeights`.

    Raises:
        ConversionError: the model is not fully converted.
    """
    refuse_unconverted(config)
    return EncoderWeights(
        heads=config.num_attention_heads,
        layers=tuple(_export_layer(layer) for layer in layers),
        classifier=to_array(classifier.weight),
        classifier_bias=to_array(classifier.bias),
        head=head,
        relative=None if relative is None else to_array(relative.table.weight),
    )


def refuse_unconverted(config: ThexBertConfig) -> None:
    """Refuse a model that no encrypted circuit runs.

    Raises:
        ConversionError: says what it has and what it should have.
    """
    if not config.fully_converted:
        raise ConversionError(
            "the encrypted circuit needs activation 'relu' and norm 'affine' (THE-X form), or "
            "activation 'quadratic', softmax 'power' and norm 'affine' or 'centred' (polynomial "
            f"form) or 'chebyshev' (normalised form); this model has {config.activation!r}, "
            f"{config.softmax!r} and {config.norm!r}. Finish the conversion: run thex-hf convert."
        )


def _export_layer(layer: ThexBertLayer) -> LayerWeights:
    attention = layer.attention
    return LayerWeights(
        query=to_array(attention.query.weight),
        query_bias=to_array(attention.query.bias),
        key=to_array(attention.key.weight),
        value=to_array(attention.value.weight),
        output=to_array(attention.output.weight),
        output_bias=to_array(attention.output.bias),
        attention_scale=to_array(layer.attention_norm.weight),
        attention_shift=to_array(layer.attention_norm.bias),
        up=to_array(layer.up.weight),
        up_bias=to_array(layer.up.bias),
        down=to_array(layer.down.weight),
        down_bias=to_array(layer.down.bias),
        output_scale=to_array(layer.output_norm.weight),
        output_shift=to_array(layer.output_norm.bias),
        polynomial=_export_terms(layer),
        attention_root=_export_root(layer.attention_norm),
        output_root=_export_root(layer.output_norm),
    )


def _export_root(norm: nn.Module) -> InverseRoot | None:
    if not isinstance(norm, ChebyshevNorm):
        return None
    return InverseRoot(to_array(norm.coefficients), to_array(norm.interval))


def _export_terms(layer: ThexBertLayer) -> PolynomialTerms | None:
    power, activation = layer.attention.softmax, layer.activation
    if not (isinstance(power, PowerAttention) and isinstance(activation, Quadratic)):
        return None
    return PolynomialTerms(
        power=power.power,
        score_shift=to_array(power.shift),
        score_scale=np.exp(to_array(power.log_scale)),
        activation=to_array(activation.coefficients),
        centred=isinstance(layer.output_norm, CentredNorm | ChebyshevNorm),
    )


def refuse_foreign(model: Any) -> None:
    """Compare a classifier with a fresh one of its configuration, module by module.

    Args:
        model: a THE-X classifier, adapters merged.

    Raises:
        ConversionError: says which module or parameter is not as it should be.
    """
    kind = _own_class(model)
    with torch.device("meta"):
        fresh = kind(copy.deepcopy(model.config))
    wanted, found = dict(fresh.named_modules()), dict(model.named_modules())
    for name, module in found.items():
        if name not in wanted:
            raise _foreign(f"has a module {name} ({type(module).__name__}) more than it should")
        _check_module(name, module, wanted[name])
    missing = wanted.keys() - found.keys()
    if missing:
        raise _foreign(f"lacks {', '.join(sorted(missing))}")
    heads = {layer.attention.heads for layer in model.thex_bert.layers}
    if heads - {model.config.num_attention_heads}:
        raise _foreign(
            f"has {sorted(heads)} attention heads and num_attention_heads "
            f"{model.config.num_attention_heads} in its configuration"
        )


def structure_mark(model: nn.Module) -> tuple[Any, ...]:
    """Modules by kind, and whether something was put on them, to be compared before each text."""
    return tuple(
        (name, type(module), "forward" in vars(module), *(len(getattr(module, k)) for k in HOOKS))
        for name, module in model.named_modules()
    )


def _own_class(model: Any) -> Any:
    """The class of ours that a model is of, or is a mere heir of."""
    kind = next(k for k in type(model).__mro__ if k.__module__.startswith("thex_hf."))
    for name in OWN:
        if getattr(type(model), name) is not getattr(kind, name):
            raise _foreign(f"is a {type(model).__name__} with a {name}() of its own")
    return kind


def _check_module(name: str, module: nn.Module, wanted: nn.Module) -> None:
    place = name or "the model"
    if isinstance(wanted, nn.Dropout) and isinstance(module, nn.Dropout | nn.Identity):
        return
    if name and type(module) is not type(wanted):
        raise _foreign(
            f"has a {type(module).__module__}.{type(module).__name__} in {name}, which should be a "
            f"{type(wanted).__name__}"
        )
    if any(not _harmless(hook) for kind in HOOKS for hook in getattr(module, kind).values()):
        raise _foreign(f"has a forward hook on {place}, which may change values")
    if "forward" in vars(module) and not any(hasattr(module, mark) for mark in WRAPPED):
        raise _foreign(f"has another forward() in {place}")
    own = {**module._parameters, **module._buffers}
    for entry, tensor in {**wanted._parameters, **wanted._buffers}.items():
        _check_tensor(f"{name}.{entry}", own.pop(entry, None), tensor)
    more = [entry for entry, tensor in own.items() if tensor is not None]
    if more:
        raise _foreign(f"has {', '.join(more)} in {place}, which no encrypted encoder reads")


def _harmless(hook: Any) -> bool:
    """Whether a hook is that of gradient checkpointing, which stays on after a training."""
    return str(getattr(hook, "__name__", "")).startswith("make_inputs_require_grad")


def _check_tensor(name: str, found: Tensor | None, wanted: Tensor | None) -> None:
    if (found is None) != (wanted is None):
        raise _foreign(f"should {'not ' if wanted is None else ''}have {name}")
    if found is None or wanted is None:
        return
    if found.is_meta:
        raise _foreign(f"has no values in memory for {name} (it is on the meta device)")
    if type(found.data) is not Tensor or not found.is_floating_point():
        raise _foreign(f"has a {type(found.data).__name__} of {found.dtype} as {name} (quantised?)")
    if found.shape != wanted.shape:
        raise _foreign(
            f"has {name} of shape {tuple(found.shape)}, and its configuration says "
            f"{tuple(wanted.shape)}"
        )


def _foreign(what: str) -> ConversionError:
    return ConversionError(
        f"the encrypted encoder runs THE-X models as thex-hf convert makes them, and this one "
        f"{what}: the encrypted answer would not be the model's. Undo it: merge_and_unload() for "
        f"adapters, remove hooks, dequantise; then calibrate again."
    )


def weights_digest(model: nn.Module, config: Any) -> str:
    """SHA-256 of a model's weights as float32 numbers, and of :data:`DECIDES`.

    The same on every device, and before and after saving as float16 if the weights are float16
    numbers, as those of a conversion are.

    Returns:
        32 hex digits.
    """
    state = model.state_dict()

    def tensors() -> Iterator[tuple[str, Any]]:
        for name in sorted(state):
            yield name, state[name].detach().float().cpu().numpy()

    return tensors_digest([getattr(config, name) for name in DECIDES], tensors())


def weights_mark(model: nn.Module) -> tuple[Any, ...]:
    """Something cheap that changes when weights do, compared before each text.

    Place and version of each tensor, and its sum: what an optimiser or ``load_state_dict`` writes
    raises the version, and what is written through ``.data`` changes the sum.
    """
    return tuple((name, *_mark(tensor)) for name, tensor in model.state_dict().items())


def _mark(tensor: Tensor) -> tuple[Any, ...]:
    version = -1 if tensor.is_inference() else tensor._version
    total = 0.0 if tensor.is_meta else float(tensor.sum())  # a part left on disk is refused later
    return tensor.data_ptr(), version, total


def refuse_stale_ranges(model: Any) -> None:
    """Refuse a model whose weights changed since calibration; its circuit would not hold them.

    A model without a record of its calibration is let pass with a warning, once for each name.

    Args:
        model: a THE-X classifier with nothing in it that no encrypted encoder reads.

    Raises:
        ConversionError: says how to calibrate again.
    """
    config = model.config
    name = str(config.name_or_path or "this model")
    if config.ranges is None:
        logger.warning_once(
            f"{name} was never calibrated: values inside it are taken to be at most 64, and an "
            f"encrypted answer is wrong where they are not. Measure them: {HOW}."
        )
    elif config.calibration is None:
        logger.warning_once(
            f"{name} does not say which weights its ranges were measured with, so it cannot be "
            f"told whether they still fit. If it was trained since, measure them again: {HOW}."
        )
    elif config.calibration["weights"] != weights_digest(model, config):
        raise ConversionError(
            "the weights of this model changed since its ranges were measured: the encrypted "
            "circuit is sized by these ranges and could give another answer than the model. "
            f"Measure them again: {HOW}."
        )
