"""Approximations as plain numpy functions: THE-X's softmax, ReLU and norm, and polynomials."""

from thex_hf.approximations.activation import quadratic, relu
from thex_hf.approximations.layernorm import affine, centred_affine
from thex_hf.approximations.softmax import (
    ReciprocalNet,
    cubed_relu,
    estimate,
    exact,
    load_reciprocal,
    power_attention,
)

__all__ = [
    "ReciprocalNet",
    "affine",
    "centred_affine",
    "cubed_relu",
    "estimate",
    "exact",
    "load_reciprocal",
    "power_attention",
    "quadratic",
    "relu",
]
