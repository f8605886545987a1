"""Classify encrypted text with Hugging Face pipelines.

``import thex_hf`` makes ``pipeline("thex-text-classification")`` known to transformers and
registers the model type ``thex_bert``. It loads no homomorphic library and needs no network.
"""

from __future__ import annotations

from thex_hf.errors import ThexError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.modeling_thex_bert import (
    ThexBertForSequenceClassification,
    ThexBertModel,
)
from thex_hf.pipelines.bundled import bundled_checkpoint
from thex_hf.pipelines.register import register
from thex_hf.pipelines.report import Report
from thex_hf.pipelines.text_classification import ThexTextClassificationPipeline

__version__ = "0.1.0"
__all__ = [
    "Report",
    "ThexBertConfig",
    "ThexBertForSequenceClassification",
    "ThexBertModel",
    "ThexError",
    "ThexTextClassificationPipeline",
    "bundled_checkpoint",
    "register",
]

register()
