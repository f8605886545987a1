"""THE-X BERT for transformers: configuration, models and their Auto classes.

transformers is imported before any module of this package, see :mod:`thex_hf`.
"""

import transformers as transformers

from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.modeling_thex_bert import (
    ThexBertClassifier,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
    ThexBertModel,
    ThexBertPreTrainedModel,
    register_auto_classes,
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
