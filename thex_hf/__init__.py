"""Classify encrypted text with Hugging Face pipelines.

``import thex_hf`` makes ``pipeline("thex-text-classification")`` and
``pipeline("thex-token-classification")`` known to transformers and registers the model type
``thex_bert``. It loads no homomorphic library and needs no network. Where torch or transformers is
not installed, or the environment variable ``THEX_HF_NO_TORCH`` is set, only :mod:`thex_hf.client`
and :mod:`thex_hf.serving` work, and nothing is registered.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from thex_hf.errors import ThexError


def _whole() -> bool:
    """Whether there is more than the two halves that need no torch."""
    if os.environ.get("THEX_HF_NO_TORCH"):
        return False
    try:
        return all(find_spec(name) is not None for name in ("torch", "transformers"))
    except ImportError:
        return False


if TYPE_CHECKING:
    from thex_hf.conversion.calibration import Calibration

if TYPE_CHECKING or _whole():
    from thex_hf.bundled import bundled_checkpoint
    from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
    from thex_hf.modeling.converter import set_converter
    from thex_hf.modeling.modeling_thex_bert import (
        ThexBertForSequenceClassification,
        ThexBertForTokenClassification,
        ThexBertModel,
    )
    from thex_hf.pipelines.register import register
    from thex_hf.pipelines.report import Report
    from thex_hf.pipelines.text_classification import ThexTextClassificationPipeline
    from thex_hf.pipelines.token_classification import ThexTokenClassificationPipeline

    def _convert(*args: Any, **settings: Any) -> str:
        from thex_hf.conversion.pretrained import convert_pretrained

        return convert_pretrained(*args, **settings)

    def calibrate(model: Any, texts: Any, tokenizer: Any = None, **options: Any) -> Calibration:
        """Measure a model's ranges again, as is needed after any training of a converted model.

        Args:
            model: a THE-X classifier or its folder.
            texts: such as it will get; a list, or the name of a data file.
            tokenizer: the model's; that of the folder if None.
            **options: of :func:`thex_hf.conversion.calibration.calibrate`, which has more words.
        """
        from thex_hf.conversion.calibration import calibrate as run

        return run(model, texts, tokenizer, **options)

    set_converter(_convert)
    register()

else:

    def __getattr__(name: str) -> Any:
        """Say what is missing for everything but the client's half."""
        if name in __all__:
            raise ImportError(
                f"thex_hf.{name} needs torch and transformers: pip install torch transformers, and "
                f"leave THEX_HF_NO_TORCH unset"
            )
        raise AttributeError(f"module 'thex_hf' has no attribute {name!r}")


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
    "calibrate",
    "register",
]
