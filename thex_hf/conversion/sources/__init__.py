"""Models that can be converted: how each family's tensors and fields become ours."""

from thex_hf.conversion.sources.adapter import base_of
from thex_hf.conversion.sources.families import SEQUENCE, TOKENS, Family, to_source, to_thex
from thex_hf.conversion.sources.load import Source, load_source
from thex_hf.conversion.sources.reading import read_config
from thex_hf.conversion.sources.registry import family_of, head_of, supported
from thex_hf.conversion.sources.start import fit_head, start_model, thex_config

__all__ = [
    "SEQUENCE",
    "TOKENS",
    "Family",
    "Source",
    "base_of",
    "family_of",
    "fit_head",
    "head_of",
    "load_source",
    "read_config",
    "start_model",
    "supported",
    "thex_config",
    "to_source",
    "to_thex",
]
