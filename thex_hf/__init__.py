"""Classify encrypted text with Hugging Face pipelines.

``import thex_hf`` makes ``pipeline("thex-text-classification")`` and
``pipeline("thex-token-classification")`` known to transformers and registers the model type
``thex_bert``. It loads no homomorphic library and needs no network. Where torch or transformers is
not installed, or the environment variable ``THEX_HF_NO_TORCH`` is set, only :mod:`thex_hf.client`
and :mod:`thex_hf.serving` work, and nothing is registered.

Names and subpackages are looked up when they are first asked for (PEP 562). The command
``thex-hf``, most of whose answers need no torch, loads neither torch nor transformers with this
package: a post-import hook of ``wrapt`` registers with transformers when that is imported. The hook
runs while its thread holds the lock of that import, and imports :mod:`thex_hf.modeling` and
:mod:`thex_hf.pipelines`; so that this works in the middle of an import of those two, each imports
transformers before any module of its own. Everywhere else ``import thex_hf`` imports transformers
itself: threads that import transformers for the first time at the same moment get a module without
names (it puts another in its place while they wait), and a second thread that imports from here
meanwhile would take the two locks in the other order.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from thex_hf.errors import ThexError

if TYPE_CHECKING:
    from thex_hf.bundled import bundled_checkpoint
    from thex_hf.conversion.calibration import calibrate
    from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
    from thex_hf.modeling.modeling_thex_bert import (
        ThexBertForSequenceClassification,
        ThexBertForTokenClassification,
        ThexBertModel,
    )
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
    "calibrate",
    "register",
]

_HOMES = {
    "Report": "pipelines.report",
    "ThexBertConfig": "modeling.configuration_thex_bert",
    "ThexBertForSequenceClassification": "modeling.modeling_thex_bert",
    "ThexBertForTokenClassification": "modeling.modeling_thex_bert",
    "ThexBertModel": "modeling.modeling_thex_bert",
    "ThexTextClassificationPipeline": "pipelines.text_classification",
    "ThexTokenClassificationPipeline": "pipelines.token_classification",
    "bundled_checkpoint": "bundled",
    "calibrate": "conversion.calibration",
    "register": "pipelines.register",
}
"""The module of each public name that is not loaded yet."""


def _whole() -> bool:
    """Whether there is more than the two halves that need no torch."""
    if os.environ.get("THEX_HF_NO_TORCH"):
        return False
    try:
        return all(find_spec(name) is not None for name in ("torch", "transformers"))
    except ImportError:
        return False


_WHOLE = _whole()


def __getattr__(name: str) -> Any:
    """Load a public name or a subpackage.

    Raises:
        ImportError: the name needs torch and transformers, which are not there.
        AttributeError: there is no such name.
    """
    if name in _HOMES:
        if not _WHOLE:
            raise ImportError(
                f"thex_hf.{name} needs torch and transformers: pip install torch transformers, and "
                f"leave THEX_HF_NO_TORCH unset"
            )
        value = globals()[name] = getattr(import_module(f"thex_hf.{_HOMES[name]}"), name)
        return value
    if not name.startswith("_") and find_spec(f"thex_hf.{name}") is not None:
        return import_module(f"thex_hf.{name}")
    raise AttributeError(f"module 'thex_hf' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names that are not loaded yet are listed too, where they can be loaded."""
    return sorted({*globals(), *(_HOMES if _WHOLE else ())})


def _convert(*args: Any, **settings: Any) -> str:
    from thex_hf.conversion.convert import convert_pretrained

    return convert_pretrained(*args, **settings)


def _introduce(_transformers: Any = None) -> None:
    """Register with transformers, which is imported first where it was not."""
    from thex_hf.modeling.encoder import set_converter
    from thex_hf.pipelines.register import register

    set_converter(_convert)
    register()


def _is_command() -> bool:
    """Whether this interpreter runs ``thex-hf``, or ``python -m thex_hf.cli.main``."""
    program = PurePath(sys.argv[0] if sys.argv else "").stem
    return program == "thex-hf" or "thex_hf.cli.main" in sys.orig_argv


if _WHOLE and _is_command():
    from wrapt import register_post_import_hook as _when_imported

    _when_imported(_introduce, "transformers")
elif _WHOLE:
    _introduce()
