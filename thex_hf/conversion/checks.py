"""What counts as a conversion that diverged."""

from __future__ import annotations

import torch
from torch import Tensor

from thex_hf.errors import ConversionError

LARGEST_VALUE = 1024.0
"""A polynomial model with larger values inside counts as diverged: they cost a bit a doubling."""


def check_logits(logits: Tensor, stages: dict[str, float]) -> None:
    """Raise unless all logits are finite.

    Args:
        logits: of the converted model on the development texts, any shape.
        stages: scores so far, for the message.

    Raises:
        ConversionError: lists the score after every stage.
    """
    if not bool(torch.isfinite(logits).all()):
        raise ConversionError(
            "the converted model gives logits that are not finite: training diverged. Scores by "
            f"stage: {_listed(stages)}. Use a lower learning rate or more weight decay. Nothing "
            "was saved."
        )


def check_values(ranges: list[dict[str, float]]) -> None:
    """Raise where values inside are so large that the polynomials cannot have been meant.

    Raises:
        ConversionError: names layer, quantity and size.
    """
    for number, entry in enumerate(ranges):
        name, value = max(entry.items(), key=lambda item: item[1])
        if value > LARGEST_VALUE:
            raise ConversionError(
                f"after end-to-end distillation, {name} of layer {number} reaches {value:.3g}, "
                f"where at most {LARGEST_VALUE:.0f} was expected: the polynomials ran away. Lower "
                "the learning rates, raise value_penalty, or train layer-wise for longer. "
                "Nothing was saved."
            )


def check_learned(stages: dict[str, float], labels: Tensor) -> None:
    """Raise if a model ended at chance although the exact one it follows had not.

    Args:
        stages: scores in per cent, ``bounded`` and ``converted`` among them.
        labels: of the development texts; classes, or floats for regression.

    Raises:
        ConversionError: lists the score after every stage.
    """
    chance = 0.0 if labels.is_floating_point() else _largest_share(labels)
    if stages["bounded"] < chance + 5 or stages["converted"] >= chance + 1:
        return
    raise ConversionError(
        f"the converted model is at chance ({chance:.2f}): training diverged. Scores by stage: "
        f"{_listed(stages)}. Lower the learning rate of the first stage that fell, or train it "
        "for longer. Nothing was saved."
    )


def _largest_share(labels: Tensor) -> float:
    return 100.0 * float(labels.bincount().max()) / len(labels)


def _listed(stages: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in stages.items())
