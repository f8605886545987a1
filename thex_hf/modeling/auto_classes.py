"""The Auto classes of transformers learn the model type ``thex_bert``."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.modeling_thex_bert import (
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
    ThexBertModel,
)


def register_auto_classes() -> None:
    """Make ``AutoConfig`` and the Auto models know ``model_type: thex_bert``.

    May be called any number of times.
    """
    AutoConfig.register(ThexBertConfig.model_type, ThexBertConfig, exist_ok=True)
    AutoModel.register(ThexBertConfig, ThexBertModel, exist_ok=True)
    AutoModelForSequenceClassification.register(
        ThexBertConfig, ThexBertForSequenceClassification, exist_ok=True
    )
    AutoModelForTokenClassification.register(
        ThexBertConfig, ThexBertForTokenClassification, exist_ok=True
    )
