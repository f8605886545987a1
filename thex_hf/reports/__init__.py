"""Measure a model and say so in its card: scores in clear, simulated and encrypted, and costs."""

from thex_hf.reports.card import make_card

__all__ = ["make_card"]
