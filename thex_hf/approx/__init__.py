"""Approximations as plain numpy functions: THE-X's softmax, ReLU and norm, and polynomials."""

from thex_hf.approx.activation import quadratic, relu
from thex_hf.approx.layernorm import affine, centred_affine
from thex_hf.approx.power import power_attention
from thex_hf.approx.reciprocal import ReciprocalNet, load_reciprocal
from thex_hf.approx.softmax import cubed_relu, estimate, exact

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
