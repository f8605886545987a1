"""Classify encrypted text with Hugging Face pipelines."""

__version__ = "0.1.0"
