"""Whether a model's calibrated ranges were measured with the weights that it has."""

from __future__ import annotations

from typing import Any

from transformers.utils import logging

from thex_hf.errors import ConversionError
from thex_hf.modeling.digest import weights_digest

logger = logging.get_logger(__name__)
HOW = "thex_hf.calibrate(model, texts, tokenizer=tokenizer), or thex-hf calibrate MODEL DATA"


def refuse_stale_ranges(model: Any) -> None:
    """Refuse a model whose weights changed since calibration; its circuit would not hold them.

    A model without a record of its calibration is let pass with a warning, once for each name.

    Args:
        model: a THE-X classifier with nothing in it that no encrypted encoder reads.

    Raises:
        ConversionError: says how to calibrate again.
    """
    config = model.config
    name = str(config.name_or_path or "this model")
    if config.ranges is None:
        logger.warning_once(
            f"{name} was never calibrated: values inside it are taken to be at most 64, and an "
            f"encrypted answer is wrong where they are not. Measure them: {HOW}."
        )
    elif config.calibration is None:
        logger.warning_once(
            f"{name} does not say which weights its ranges were measured with, so it cannot be "
            f"told whether they still fit. If it was trained since, measure them again: {HOW}."
        )
    elif config.calibration["weights"] != weights_digest(model, config):
        raise ConversionError(
            "the weights of this model changed since its ranges were measured: the encrypted "
            "circuit is sized by these ranges and could give another answer than the model. "
            f"Measure them again: {HOW}."
        )
