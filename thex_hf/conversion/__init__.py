"""Conversion of fine-tuned BERT classifiers to THE-X form and to polynomial form."""

from thex_hf.conversion.convert import convert
from thex_hf.conversion.losses import LossOptions
from thex_hf.conversion.options import ConversionOptions, ConversionReport, PolynomialOptions
from thex_hf.conversion.trainer import FitOptions

__all__ = [
    "ConversionOptions",
    "ConversionReport",
    "FitOptions",
    "LossOptions",
    "PolynomialOptions",
    "convert",
]
