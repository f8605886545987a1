"""Make the tasks of this package and its Auto classes known to transformers."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification
from transformers.pipelines import PIPELINE_REGISTRY

from thex_hf.bundled import bundled_checkpoint
from thex_hf.errors import OptionError
from thex_hf.modeling.modeling_thex_bert import register_auto_classes
from thex_hf.pipelines.text_classification import ThexTextClassificationPipeline
from thex_hf.pipelines.token_classification import ThexTokenClassificationPipeline

TASK = "thex-text-classification"
TOKEN_TASK = "thex-token-classification"


class NoDefault(dict[str, Any]):
    """Stands where transformers looks for the model of a task that comes with none."""

    def __getitem__(self, key: str) -> Any:
        """Refuse, with advice.

        Raises:
            OptionError: always.
        """
        raise OptionError(
            f"no model comes with thex_hf for {TOKEN_TASK!r}: name one, as in "
            f"pipeline({TOKEN_TASK!r}, model='my-tagger'). thex-hf convert makes one of a "
            "fine-tuned token classifier."
        )


def register() -> None:
    """Register tasks and classes; may be called again."""
    register_auto_classes()
    bundled = (bundled_checkpoint(), None)
    old = int(transformers.__version__.split(".")[0]) < 5
    default = {"model": {"pt": bundled} if old else bundled}
    _register(
        TASK,
        ThexTextClassificationPipeline,
        pt_model=AutoModelForSequenceClassification,
        default=default,
    )
    _register(
        TOKEN_TASK,
        ThexTokenClassificationPipeline,
        pt_model=AutoModelForTokenClassification,
        default=NoDefault(model=None),
    )


def _register(task: str, pipeline_class: Any, **options: Any) -> None:
    """Register one task, unless it is known."""
    if task in PIPELINE_REGISTRY.supported_tasks:
        return
    PIPELINE_REGISTRY.register_pipeline(task, pipeline_class=pipeline_class, type="text", **options)
    # With this attribute save_pretrained would copy our code into the model folder, and
    # loading that folder again would ask for trust_remote_code.
    del pipeline_class._registered_impl
