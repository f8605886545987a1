"""From a THE-X torch model to plain numpy weights."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from thex_hf.errors import ConversionError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.layers import CentredNorm, PowerAttention, Quadratic, ThexBertLayer
from thex_hf.weights import Array, EncoderWeights, LayerWeights, PolynomialTerms


def to_array(tensor: Tensor | nn.Module) -> Array:
    """Copy a tensor to float64 numpy."""
    assert isinstance(tensor, Tensor)
    return np.array(tensor.detach().cpu().double().numpy(), dtype=np.float64)


def export_weights(
    config: ThexBertConfig,
    layers: list[ThexBertLayer],
    classifier: nn.Linear,
    head: str = "cls",
) -> EncoderWeights:
    """Collect layers and classifier as the record that the encrypted side reads.

    Args:
        config: its form must be ``"the-x"`` or ``"polynomial"``.
        layers: the encoder layers, first to last.
        classifier: the linear head.
        head: what it reads: ``"cls"``, the first row; ``"mean"``, the mean over true tokens;
            ``"tokens"``, every row.

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
            f"form); this model has {config.activation!r}, {config.softmax!r} and "
            f"{config.norm!r}. Finish the conversion: run thex-hf convert."
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
    )


def _export_terms(layer: ThexBertLayer) -> PolynomialTerms | None:
    power, activation = layer.attention.softmax, layer.activation
    if not (isinstance(power, PowerAttention) and isinstance(activation, Quadratic)):
        return None
    return PolynomialTerms(
        power=power.power,
        score_shift=to_array(power.shift),
        score_scale=np.exp(to_array(power.log_scale)),
        activation=to_array(activation.coefficients),
        centred=isinstance(layer.output_norm, CentredNorm),
    )
