"""Make ``pipeline("thex-text-classification")`` and the Auto classes known to transformers."""

from __future__ import annotations

import transformers
from transformers import AutoModelForSequenceClassification
from transformers.pipelines import PIPELINE_REGISTRY

from thex_hf.modeling import register_auto_classes
from thex_hf.pipelines.bundled import bundled_checkpoint
from thex_hf.pipelines.text_classification import ThexTextClassificationPipeline

TASK = "thex-text-classification"


def register() -> None:
    """Register task and classes; may be called again."""
    register_auto_classes()
    if TASK in PIPELINE_REGISTRY.supported_tasks:
        return
    bundled = (bundled_checkpoint(), None)
    old = int(transformers.__version__.split(".")[0]) < 5
    PIPELINE_REGISTRY.register_pipeline(
        TASK,
        pipeline_class=ThexTextClassificationPipeline,
        pt_model=AutoModelForSequenceClassification,
        default={"model": {"pt": bundled} if old else bundled},
        type="text",
    )
    # With this attribute save_pretrained would copy our code into the model folder, and
    # loading that folder again would ask for trust_remote_code.
    del ThexTextClassificationPipeline._registered_impl
