"""Change what a loaded model computes as softmax."""

from __future__ import annotations

from thex_hf.modeling.layers import Attention, ExactSoftmax, SoftmaxEstimate
from thex_hf.modeling.modeling_thex_bert import ThexBertForSequenceClassification


def set_softmax(model: ThexBertForSequenceClassification, kind: str) -> None:
    """Use ``estimate`` (THE-X) or ``exact`` softmax in every layer and in the configuration."""
    model.config.softmax = kind
    for module in model.modules():
        if isinstance(module, Attention):
            module.softmax = SoftmaxEstimate() if kind == "estimate" else ExactSoftmax()
