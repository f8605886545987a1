"""The digest that ties calibrated ranges to weights, and whether they still belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers.utils import logging

from thex_hf.errors import ConversionError
from thex_hf.weights import tensors_digest

DECIDES = (
    "activation",
    "norm",
    "attention_power",
    "pooling",
    "num_attention_heads",
    "layer_norm_eps",
)
"""Fields of the configuration that decide, with the weights, how large values get.

``softmax`` is not among them: a model in THE-X form may be run with either of its two.
"""


def weights_digest(model: nn.Module, config: Any) -> str:
    """SHA-256 of a model's weights as float32 numbers, and of :data:`DECIDES`.

    The same on every device, and before and after saving as float16 if the weights are float16
    numbers, as those of a conversion are.

    Returns:
        32 hex digits.
    """
    state = model.state_dict()

    def tensors() -> Iterator[tuple[str, Any]]:
        for name in sorted(state):
            yield name, state[name].detach().float().cpu().numpy()

    return tensors_digest([getattr(config, name) for name in DECIDES], tensors())


def weights_mark(model: nn.Module) -> tuple[Any, ...]:
    """Something cheap that changes when weights do, compared before each text.

    Place and version of each tensor, and its sum: what an optimiser or ``load_state_dict`` writes
    raises the version, and what is written through ``.data`` changes the sum.
    """
    return tuple((name, *_mark(tensor)) for name, tensor in model.state_dict().items())


def _mark(tensor: Tensor) -> tuple[Any, ...]:
    version = -1 if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), version, float(tensor.sum())


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
