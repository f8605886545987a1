"""The approximations of THE-X as plain numpy functions: softmax, ReLU, affine norm."""

from thex_hf.approx.activation import relu
from thex_hf.approx.layernorm import affine
from thex_hf.approx.reciprocal import ReciprocalNet, load_reciprocal
from thex_hf.approx.softmax import cubed_relu, estimate, exact

__all__ = [
    "ReciprocalNet",
    "affine",
    "cubed_relu",
    "estimate",
    "exact",
    "load_reciprocal",
    "relu",
]
