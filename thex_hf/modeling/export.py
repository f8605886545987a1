"""From a THE-X torch model to plain numpy weights."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from thex_hf.errors import ConversionError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.layers import ThexBertLayer
from thex_hf.weights import Array, EncoderWeights, LayerWeights


def to_array(tensor: Tensor | nn.Module) -> Array:
    """Copy a tensor to float64 numpy."""
    assert isinstance(tensor, Tensor)
    return np.array(tensor.detach().cpu().double().numpy(), dtype=np.float64)


def export_weights(
    config: ThexBertConfig, layers: list[ThexBertLayer], classifier: nn.Linear
) -> EncoderWeights:
    """Collect layers and classifier as the record that the encrypted side reads.

    Args:
        config: must say ``activation="relu"`` and ``norm="affine"``.
        layers: the encoder layers, first to last.
        classifier: the linear head that reads the ``[CLS]`` row.

    Returns:
        Float64 copies; see :class:`thex_hf.weights.EncoderWeights`.

    Raises:
        ConversionError: the model is not fully converted.
    """
    if not config.fully_converted:
        raise ConversionError(
            "the encrypted circuit needs activation 'relu' and norm 'affine'; this model has "
            f"{config.activation!r} and {config.norm!r}. Finish the conversion: run "
            "thex-hf convert."
        )
    return EncoderWeights(
        heads=config.num_attention_heads,
        layers=tuple(_export_layer(layer) for layer in layers),
        classifier=to_array(classifier.weight),
        classifier_bias=to_array(classifier.bias),
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
    )
