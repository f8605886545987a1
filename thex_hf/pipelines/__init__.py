"""Hugging Face pipelines over encrypted text."""
