"""Change what a loaded model computes as softmax."""

from __future__ import annotations

from thex_hf.errors import OptionError
from thex_hf.modeling.layers import Attention, make_softmax
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier


def set_softmax(model: ThexBertClassifier, kind: str) -> None:
    """Use ``estimate`` (THE-X) or ``exact`` softmax in every layer and in the configuration.

    Raises:
        OptionError: the model has power attention, whose weights are not made for a softmax.
    """
    if model.config.softmax == "power":
        raise OptionError(
            f"softmax={kind!r} is for models in THE-X form; this one is in polynomial form, with "
            "power attention trained in its place. Leave the option out."
        )
    model.config.softmax = kind
    for module in model.modules():
        if isinstance(module, Attention):
            module.softmax = make_softmax(model.config)
