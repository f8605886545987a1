"""A plaintext affine map."""

from __future__ import annotations

from dataclasses import dataclass

from thex_hf.weights import Array


@dataclass(frozen=True)
class Affine:
    """A plaintext map ``y = weight @ x + bias``."""

    weight: Array
    bias: Array

    def divided_by(self, gain: float) -> Affine:
        """The map divided by a number."""
        return Affine(self.weight / gain, self.bias / gain)
