"""What counts as a conversion that diverged, or ended as a model that nothing can run."""

from __future__ import annotations

import torch

from thex_hf.circuits.dispatch import FORMS, plan_for
from thex_hf.circuits.shape import BUCKETS
from thex_hf.conversion.scores import Logits
from thex_hf.conversion.training.batches import Encoded
from thex_hf.errors import DivergenceError, PlanError
from thex_hf.modeling import ThexBertClassifier

LARGEST_VALUE = 1024.0
"""A polynomial model with larger values inside counts as diverged: they cost a bit a doubling."""


def check_logits(logits: Logits, stages: dict[str, float]) -> None:
    """Raise unless all logits are finite.

    Args:
        logits: of the converted model on the development texts.
        stages: scores so far, for the message.

    Raises:
        DivergenceError: lists the score after every stage.
    """
    if not all(bool(torch.isfinite(part).all()) for part in logits):
        raise DivergenceError(
            "the converted model gives logits that are not finite: training diverged. Scores by "
            f"stage: {_listed(stages)}. Use a lower learning rate or more weight decay. Nothing "
            "was saved."
        )


def check_values(ranges: list[dict[str, float]]) -> None:
    """Raise where values inside are so large that the polynomials cannot have been meant.

    Raises:
        DivergenceError: names layer, quantity and size.
    """
    for number, entry in enumerate(ranges):
        name, value = max(entry.items(), key=lambda item: item[1])
        if value > LARGEST_VALUE:
            raise DivergenceError(
                f"after end-to-end distillation, {name} of layer {number} reaches {value:.3g}, "
                f"where at most {LARGEST_VALUE:.0f} was expected: the polynomials ran away. Lower "
                "the learning rates, raise value_penalty, or train layer-wise for longer. "
                "Nothing was saved."
            )


def check_learned(stages: dict[str, float], dev: Encoded) -> None:
    """Raise if a model ended at chance although the exact one it follows had not.

    Args:
        stages: scores in per cent, ``bounded`` and ``converted`` among them.
        dev: the texts they are of.

    Raises:
        DivergenceError: lists the score after every stage.
    """
    chance = 0.0
    if dev.kind == "classes" and isinstance(dev.labels, torch.Tensor):
        chance = 100.0 * float(dev.labels.bincount().max()) / len(dev)
    if stages["bounded"] < chance + 5 or stages["converted"] >= chance + 1:
        return
    raise DivergenceError(
        f"the converted model is at chance ({chance:.2f}): training diverged. Scores by stage: "
        f"{_listed(stages)}. Lower the learning rate of the first stage that fell, or train it "
        "for longer. Nothing was saved."
    )


def check_served(model: ThexBertClassifier) -> None:
    """Raise unless one of the protocols for the model's form can run it.

    What decides is how large the values inside get: any shape has a plan if they are moderate.

    Args:
        model: converted and calibrated.

    Raises:
        DivergenceError: says why each protocol cannot.
    """
    config, weights = model.config, model.encoder_weights()
    refused = []
    for protocol in (name for name, form in FORMS.items() if form == config.form):
        try:
            plan_for(weights, BUCKETS[0], config.ranges, protocol=protocol, softmax=config.softmax)
        except PlanError as error:
            refused.append(f"{protocol}: {error}")
        else:
            return
    raise DivergenceError(
        "the converted model could not be run on ciphertext, its values inside are too large. "
        f"{'; '.join(refused)}. Train for longer (a larger --effort) or with more weight decay, "
        "or start from a source that was trained. Nothing was saved."
    )


def _listed(stages: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in stages.items())
