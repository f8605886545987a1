"""Classify encrypted text with Hugging Face pipelines.

``import thex_hf`` makes ``pipeline("thex-text-classification")`` and
``pipeline("thex-token-classification")`` known to transformers and registers the model type
``thex_bert``. It loads no homomorphic library and needs no network.
"""

from __future__ import annotations

from typing import Any

from thex_hf.errors import ThexError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.converter import set_converter
from thex_hf.modeling.modeling_thex_bert import (
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
    ThexBertModel,
)
from thex_hf.pipelines.bundled import bundled_checkpoint
from thex_hf.pipelines.register import register
from thex_hf.pipelines.report import Report
from thex_hf.pipelines.text_classification import ThexTextClassificationPipeline
from thex_hf.pipelines.token_classification import ThexTokenClassificationPipeline

__version__ = "0.1.0"
__all__ = [
    "Report",
    "ThexBertConfig",
    "ThexBertForSequenceClassification",
    "ThexBertForTokenClassification",
    "ThexBertModel",
    "ThexError",
    "ThexTextClassificationPipeline",
    "ThexTokenClassificationPipeline",
    "bundled_checkpoint",
    "register",
]


def _convert(*args: Any, **settings: Any) -> str:
    from thex_hf.conversion.pretrained import convert_pretrained

    return convert_pretrained(*args, **settings)


set_converter(_convert)
register()
