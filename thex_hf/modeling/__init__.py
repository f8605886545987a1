"""THE-X BERT for transformers: configuration, models and their Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.modeling_thex_bert import (
    ThexBertClassifier,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
    ThexBertModel,
    ThexBertPreTrainedModel,
)

__all__ = [
    "ThexBertClassifier",
    "ThexBertConfig",
    "ThexBertForSequenceClassification",
    "ThexBertForTokenClassification",
    "ThexBertModel",
    "ThexBertPreTrainedModel",
    "register_auto_classes",
]


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
