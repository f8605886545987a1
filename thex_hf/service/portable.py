"""An encoder's weights as bytes, so that a process without torch can serve them."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from thex_hf.errors import ConversionError
from thex_hf.weights import EncoderWeights, LayerWeights, PolynomialTerms

MATRICES = tuple(f.name for f in fields(LayerWeights) if f.name != "polynomial")
TERMS = ("score_shift", "score_scale", "activation")
FACTS = "facts"


def weights_to_bytes(weights: EncoderWeights) -> bytes:
    """Every array and number of the record, as a safetensors file."""
    arrays = {"classifier": weights.classifier, "classifier_bias": weights.classifier_bias}
    terms = []
    for number, layer in enumerate(weights.layers):
        arrays |= {f"{number}.{name}": getattr(layer, name) for name in MATRICES}
        own = layer.polynomial
        terms.append(None if own is None else {"power": own.power, "centred": own.centred})
        if own is not None:
            arrays |= {f"{number}.{name}": getattr(own, name) for name in TERMS}
    facts = {"heads": weights.heads, "head": weights.head, "terms": terms}
    arrays[FACTS] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    return bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def weights_from_bytes(data: bytes) -> EncoderWeights:
    """The reverse of :func:`weights_to_bytes`; the fingerprint is the same.

    Raises:
        ConversionError: other bytes.
    """
    try:
        arrays = load(data)
        facts: dict[str, Any] = json.loads(arrays.pop(FACTS).tobytes())
        layers = tuple(_layer(arrays, n, own) for n, own in enumerate(facts["terms"]))
        return EncoderWeights(
            facts["heads"], layers, arrays["classifier"], arrays["classifier_bias"], facts["head"]
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"these bytes are no encoder's weights: {error}") from error


def _layer(arrays: dict[str, Any], number: int, terms: dict[str, Any] | None) -> LayerWeights:
    polynomial = None
    if terms is not None:
        own = {name: arrays[f"{number}.{name}"] for name in TERMS}
        polynomial = PolynomialTerms(terms["power"], **own, centred=terms["centred"])
    matrices = {name: arrays[f"{number}.{name}"] for name in MATRICES}
    return LayerWeights(**matrices, polynomial=polynomial)
