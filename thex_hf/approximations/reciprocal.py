"""The reciprocal network ``T`` inside the softmax estimate."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from thex_hf.approximations.activation import relu
from thex_hf.errors import ConversionError

Array = NDArray[np.float64]

WEIGHTS_PATH = Path(__file__).with_name("reciprocal.safetensors")

HIDDEN = 16
"""Width h of both hidden layers of the shipped network."""

KEY_COUNTS = (1, 128)
"""Shortest and longest row of attention scores the shipped network was made for."""

SUM_RANGE = (0.5, 2048.0)
"""Sums between which the shipped network is a reciprocal; it is flat outside."""

MAX_RELATIVE_ERROR = 0.01
"""Bound on ``|s T(s) - 1|`` over ``SUM_RANGE``; ``training/reciprocal.json`` has the figures."""


@dataclass(frozen=True)
class ReciprocalNet:
    """``T(s) = w3 . relu(W2 relu(w1 s + b1) + b2) + b3``, close to ``1 / s``.

    THE-X, Chen et al. 2022, section 3.3: a small network learns the reciprocal.
    The two ReLUs are needed (three linear maps in a row would be one affine map)
    and run on the client like all others.
    """

    w1: Array  # (h,)
    b1: Array  # (h,)
    w2: Array  # (h, h), rows are outputs
    b2: Array  # (h,)
    w3: Array  # (h,)
    b3: float

    def __post_init__(self) -> None:
        """Check that the shapes agree."""
        hidden = self.w1.shape[0]
        wanted = {"w1": (hidden,), "b1": (hidden,), "w2": (hidden, hidden)}
        wanted |= {"b2": (hidden,), "w3": (hidden,)}
        for name, shape in wanted.items():
            got = getattr(self, name).shape
            if got != shape:
                raise ConversionError(
                    f"reciprocal network: {name} should have shape {shape}, has {got}. "
                    "Load the shipped one with load_reciprocal()."
                )

    def __call__(self, sums: Array) -> Array:
        """Evaluate ``T`` at each element.

        Args:
            sums: any shape; meant to lie in :data:`SUM_RANGE`.

        Returns:
            Array of the same shape.
        """
        first = relu(np.asarray(sums, dtype=np.float64)[..., None] * self.w1 + self.b1)
        second = relu(first @ self.w2.T + self.b2)
        return np.asarray(second @ self.w3 + self.b3)

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that name these weights."""
        digest = hashlib.sha256()
        for field in fields(self):
            digest.update(np.asarray(getattr(self, field.name), dtype="<f8").tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the weights as float64 safetensors."""
        arrays = {f.name: np.atleast_1d(getattr(self, f.name)) for f in fields(self)}
        save_file({k: np.ascontiguousarray(v, dtype=np.float64) for k, v in arrays.items()}, path)


@cache
def load_reciprocal(path: Path = WEIGHTS_PATH) -> ReciprocalNet:
    """Load the shipped reciprocal network, or one saved in the same form.

    Args:
        path: a safetensors file with ``w1 b1 w2 b2 w3 b3``.

    Raises:
        ConversionError: the file is missing, or lacks one of the arrays.
    """
    if not path.is_file():
        raise ConversionError(
            f"the reciprocal network should be at {path.name!r} in the package and is not "
            "there: reinstall thex_hf, or run training/train_reciprocal.py."
        )
    arrays = load_file(path)
    names = [field.name for field in fields(ReciprocalNet)]
    missing = sorted(set(names) - set(arrays))
    if missing:
        raise ConversionError(f"{path.name} should hold {names}; {missing} are missing.")
    doubles = {name: arrays[name].astype(np.float64) for name in names}
    return ReciprocalNet(**{**doubles, "b3": float(doubles["b3"].reshape(-1)[0])})
