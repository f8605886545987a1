"""The encoder's weights as plain numpy arrays.

This record is the one thing that crosses from the torch side (``modeling``) to
the homomorphic side (``encrypted``), so that the encrypted path needs no torch.
All matrices follow the torch convention: a linear map is ``y = x @ W.T + b`` with
``W`` of shape ``(out, in)``. Arrays are float64.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LayerWeights:
    """One THE-X encoder layer; ``d`` hidden size, ``m`` FFN size.

    There is no key bias and no value bias: a key bias adds a constant per query,
    which softmax ignores, and a value bias is part of the output bias.
    """

    query: Array  # (d, d), not yet divided by sqrt(head size)
    query_bias: Array  # (d,)
    key: Array  # (d, d)
    value: Array  # (d, d)
    output: Array  # (d, d)
    output_bias: Array  # (d,)
    attention_scale: Array  # (d,) affine LayerNorm after attention: gamma
    attention_shift: Array  # (d,) beta
    up: Array  # (m, d)
    up_bias: Array  # (m,)
    down: Array  # (d, m)
    down_bias: Array  # (d,)
    output_scale: Array  # (d,) affine LayerNorm after the FFN: gamma
    output_shift: Array  # (d,) beta


@dataclass(frozen=True)
class EncoderWeights:
    """A whole THE-X encoder with its classifier head (no pooler).

    ``classifier`` has shape ``(labels, d)`` and reads the ``[CLS]`` row.
    """

    heads: int
    layers: tuple[LayerWeights, ...]
    classifier: Array
    classifier_bias: Array

    @property
    def hidden(self) -> int:
        """Hidden size d."""
        return int(self.classifier.shape[1])

    @property
    def intermediate(self) -> int:
        """FFN size m."""
        return int(self.layers[0].up.shape[0])

    @property
    def labels(self) -> int:
        """Number of logits."""
        return int(self.classifier.shape[0])

    def fingerprint(self) -> str:
        """SHA-256 over sizes and values: names the model a plan was made for."""
        digest = hashlib.sha256(f"{self.heads}:{len(self.layers)}".encode())
        arrays = [getattr(layer, f.name) for layer in self.layers for f in fields(layer)]
        for array in [*arrays, self.classifier, self.classifier_bias]:
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()
