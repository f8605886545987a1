"""Conversion of fine-tuned BERT classifiers to THE-X form, polynomial form and normalised form."""

from thex_hf.conversion.convert import convert
from thex_hf.conversion.options import (
    ConversionOptions,
    FitOptions,
    LossOptions,
    NormalisedOptions,
    PolynomialOptions,
    TheXOptions,
    options_from,
)
from thex_hf.conversion.scores import ConversionReport

__all__ = [
    "ConversionOptions",
    "ConversionReport",
    "FitOptions",
    "LossOptions",
    "NormalisedOptions",
    "PolynomialOptions",
    "TheXOptions",
    "convert",
    "options_from",
]
