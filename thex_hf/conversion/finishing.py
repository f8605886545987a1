"""What follows the last stage of a conversion: rounding, the score that counts, calibration."""

from __future__ import annotations

from transformers.utils import logging

from thex_hf.conversion.context import LAST, ConversionContext, Model, Outcome
from thex_hf.conversion.output import round_to_half
from thex_hf.conversion.scores import (
    check_learned,
    check_logits,
    check_values,
    lost_texts,
    predict,
    score_served,
)
from thex_hf.conversion.training.augment import strange_batches
from thex_hf.conversion.training.batches import sample
from thex_hf.modeling.calibrate import calibrate_on

logger = logging.get_logger(__name__)


def finish(outcome: Outcome, context: ConversionContext) -> Model:
    """Round, score and calibrate a model; the score goes into the outcome's stages.

    Raises:
        ConversionError: logits are not finite, values inside are enormous, or a model without
            comparisons knows no more than the most frequent label. Nothing has been saved then.
    """
    model, stages = outcome.model, outcome.stages
    model.cpu()
    if context.options.half:
        round_to_half(model)
    logits = predict(model, context.dev)
    lost = lost_texts(model, logits)
    check_logits(logits, stages, lost)
    if lost.any():
        logger.warning(
            "%d of %d development texts run away inside the model: they would be refused, and "
            "count as wrong in its score. Longer training (--effort) makes them fewer.",
            int(lost.sum()),
            len(lost),
        )
    stages[LAST] = score_served(logits, context.dev, lost)
    if context.watch:
        context.watch(LAST, logits)
    count = context.options.calibration_texts
    strange = strange_batches(context.train, count, context.options.seed)
    with context.clock.timing("calibration"):
        calibrate_on(model, sample(context.train, count), strange)
    if lost := model.config.calibration.get("lost"):
        logger.warning(
            "%d of %d usual texts run away inside the model and are refused: variances before its "
            "norms leave the intervals of their polynomials. Longer training (--effort) makes them "
            "fewer.",
            lost,
            model.config.calibration["texts"],
        )
    if beyond := model.config.calibration["beyond"]:
        logger.warning(
            "%d of %d texts such as a word repeated give values beyond twice the calibrated range; "
            "where their logits show it, answers are refused. Longer training (--effort) makes "
            "them fewer.",
            beyond,
            model.config.calibration["strange"],
        )
    if model.config.form != "the-x":
        check_values(model.config.ranges)
        check_learned(stages, context.dev)
    return model
