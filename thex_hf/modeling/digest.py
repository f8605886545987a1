"""The digest that ties calibrated ranges to the weights they were measured with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

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
