"""The encoder in a model's folder, read without torch: only to know its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from thex_hf.errors import ConversionError
from thex_hf.tasks import reads_every_token
from thex_hf.weights import (
    USUAL_DEGREE,
    Array,
    EncoderWeights,
    InverseRoot,
    LayerWeights,
    PolynomialTerms,
)

PREFIX = "thex_bert.layers."
RELATIVE = "thex_bert.relative.table.weight"
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
NORMS = ("attention_norm", "output_norm")
"""The norms of a layer, where they divide by the deviation."""


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
                read(RELATIVE) if config.get("relative_attention_num_buckets") else None,
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


def form_of(config: Mapping[str, Any]) -> str:
    """The form of a converted model."""
    if config.get("softmax") != "power":
        return "the-x"
    return "normalised" if config.get("norm") == "chebyshev" else "polynomial"


def _layer(read: Any, number: int, config: Mapping[str, Any]) -> LayerWeights:
    place, polynomial, form = f"{PREFIX}{number}.", None, form_of(config)
    if form != "the-x":
        polynomial = PolynomialTerms(
            power=int(config["attention_power"]),
            score_shift=read(place + "attention.softmax.shift"),
            score_scale=np.exp(read(place + "attention.softmax.log_scale")),
            activation=read(place + "activation.coefficients"),
            centred=config.get("norm") in ("centred", "chebyshev"),
        )
    degrees = (0, 0)
    if form == "normalised":
        every = config.get("norm_degrees")
        degrees = every[number] if every else (USUAL_DEGREE, USUAL_DEGREE)
    first, second = (
        InverseRoot(read(f"{place}{norm}.coefficients"), read(f"{place}{norm}.interval"))
        if degree
        else None
        for norm, degree in zip(NORMS, degrees, strict=True)
    )
    matrices = {field: read(place + name) for field, name in MATRICES.items()}
    return LayerWeights(**matrices, polynomial=polynomial, attention_root=first, output_root=second)
