"""Say that a stock pipeline runs a THE-X model in clear, and which task encrypts."""

from __future__ import annotations

import sys
from typing import Any

import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)
TASKS = (
    "text-classification",
    "sentiment-analysis",
    "token-classification",
    "ner",
    "zero-shot-classification",
)
"""Of stock pipelines that a classifier can be in."""
STOCK = "transformers.pipelines"
FRAMES = 12
"""How far up the callers a pipeline is looked for."""


def tell_if_stock(model: Any) -> None:
    """Warn, once for each model, if a stock pipeline is loading or running it.

    Only the callers know: nothing else tells a pipeline's forward pass from a user's own.

    Args:
        model: remembers that it was told.
    """
    if model.training or model.told_clear or torch.compiler.is_compiling():
        return
    frame: Any = sys._getframe(1)
    for _ in range(FRAMES):
        if frame is None:
            return
        if str(frame.f_globals.get("__name__", "")).startswith(STOCK):
            own, kind = frame.f_locals.get("self"), "token" if model.every_token else "text"
            named = getattr(own, "task", "") or frame.f_locals.get("task", "")
            task = str(named or f"{kind}-classification")
            if task in TASKS and not _is_ours(own):
                model.told_clear = True
                logger.warning(
                    f"nothing is encrypted: pipeline({task!r}) runs this THE-X model in clear. For "
                    f"encrypted inference use pipeline('thex-{kind}-classification', model=...)."
                )
            return
        frame = frame.f_back


def _is_ours(pipeline: Any) -> bool:
    return any(kind.__module__.startswith("thex_hf.") for kind in type(pipeline).__mro__)
