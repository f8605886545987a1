"""The encoder in a model's folder, read without torch: only to know its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from thex_hf.errors import ConversionError
from thex_hf.tasks import reads_every_token
from thex_hf.weights import Array, EncoderWeights, LayerWeights, PolynomialTerms

PREFIX = "thex_bert.layers."
MATRICES = {
    "query": "attention.query.weight",
    "query_bias": "attention.query.bias",
    "key": "attention.key.weight",
    "value": "attention.value.weight",
    "output": "attention.output.weight",
    "output_bias": "attention.output.bias",
    "attention_scale": "attention_norm.weight",
    "attention_shift": "attention_norm.bias",
    "up": "up.weight",
    "up_bias": "up.bias",
    "down": "down.weight",
    "down_bias": "down.bias",
    "output_scale": "output_norm.weight",
    "output_shift": "output_norm.bias",
}


def read_encoder(file: Path, config: Mapping[str, Any]) -> EncoderWeights:
    """The weights that a server of this checkpoint has, as float64.

    Args:
        file: the checkpoint's safetensors.
        config: of the model, as JSON values.

    Raises:
        ConversionError: a tensor is missing, or of a type that numpy has not.
    """
    try:
        with safe_open(file, "numpy") as tensors:

            def read(name: str) -> Array:
                return np.asarray(tensors.get_tensor(name), np.float64)

            return EncoderWeights(
                int(config["num_attention_heads"]),
                tuple(_layer(read, n, config) for n in range(int(config["num_hidden_layers"]))),
                read("classifier.weight"),
                read("classifier.bias"),
                head_of(config),
            )
    except ConversionError:
        raise
    except Exception as error:  # the library raises what it likes
        raise ConversionError(
            f"{str(file)!r} should hold a whole converted model: {error}; convert it again"
        ) from error


def head_of(config: Mapping[str, Any]) -> str:
    """What the classifier reads."""
    kinds = config.get("architectures") or [""]
    return "tokens" if reads_every_token(str(kinds[0])) else str(config.get("pooling", "cls"))


def is_polynomial(config: Mapping[str, Any]) -> bool:
    """Whether a model is in polynomial form."""
    return config.get("softmax") == "power"


def _layer(read: Any, number: int, config: Mapping[str, Any]) -> LayerWeights:
    place, polynomial = f"{PREFIX}{number}.", None
    if is_polynomial(config):
        polynomial = PolynomialTerms(
            power=int(config["attention_power"]),
            score_shift=read(place + "attention.softmax.shift"),
            score_scale=np.exp(read(place + "attention.softmax.log_scale")),
            activation=read(place + "activation.coefficients"),
            centred=config.get("norm") == "centred",
        )
    matrices = {field: read(place + name) for field, name in MATRICES.items()}
    return LayerWeights(**matrices, polynomial=polynomial)
