"""The optional shim that lets a model load without ``import thex_hf`` first.

With it a folder holds ``thex_remote.py``, a few lines that import the *installed* package, and
``config.json`` names that file under ``auto_map`` and ``custom_pipelines``. Then
``pipeline(model=..., trust_remote_code=True)`` finds the classes by itself. Where ``thex_hf`` was
imported nothing is asked and the file is not read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULE = "thex_remote"
FILE = f"{MODULE}.py"
_CONFIG = "config.json"
_MARK = '"""Made by thex_hf'


@dataclass(frozen=True)
class Head:
    """How a model class is loaded: Auto class, and the pipeline with its task, if it has one."""

    auto: str
    task: str = ""
    pipeline: str = ""


HEADS = {
    "ThexBertModel": Head("AutoModel"),
    "ThexBertForSequenceClassification": Head(
        "AutoModelForSequenceClassification",
        "thex-text-classification",
        "ThexTextClassificationPipeline",
    ),
    "ThexBertForTokenClassification": Head(
        "AutoModelForTokenClassification",
        "thex-token-classification",
        "ThexTokenClassificationPipeline",
    ),
}
"""Model classes by name."""


def write_remote_code(folder: Path, model_class: str) -> None:
    """Write ``thex_remote.py`` and name it in the folder's ``config.json``.

    Args:
        folder: holds a saved model.
        model_class: a key of :data:`HEADS`.
    """
    head = HEADS[model_class]
    names = [name for name in ("ThexBertConfig", model_class, head.pipeline) if name]
    text = f'{_MARK}: loads the installed package."""\n\nfrom thex_hf import {", ".join(names)}\n'
    text += f"\n__all__ = {json.dumps(names)}\n"
    (folder / FILE).write_text(text, encoding="utf-8")
    config = _without(_read(folder))
    config["auto_map"] = {
        "AutoConfig": f"{MODULE}.ThexBertConfig",
        head.auto: f"{MODULE}.{model_class}",
    }
    if head.pipeline:
        # under another name than the task's own: under that one transformers would ask for
        # trust_remote_code even where thex_hf is imported
        config["custom_pipelines"] = {
            f"{head.task}-remote": {
                "impl": f"{MODULE}.{head.pipeline}",
                "pt": [head.auto],
                "type": "text",
            }
        }
    _write(folder, config)


def drop_remote_code(folder: Path) -> None:
    """Take the shim out of a folder; a file of that name which is not ours stays."""
    config = _read(folder)
    cleaned = _without(config)
    if cleaned != config:
        _write(folder, cleaned)
    shim = folder / FILE
    if shim.is_file() and shim.read_text(encoding="utf-8").startswith(_MARK):
        shim.unlink()


def _without(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what names the shim; a Hub name may stand before it."""
    out = dict(config)
    if any(_ours(value) for value in (out.get("auto_map") or {}).values()):
        del out["auto_map"]
    pipelines = out.get("custom_pipelines") or {}
    if any(_ours(entry.get("impl")) for entry in pipelines.values()):
        del out["custom_pipelines"]
    return out


def _ours(reference: Any) -> bool:
    return str(reference).rpartition("--")[2].startswith(f"{MODULE}.")


def _read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return found


def _write(folder: Path, config: dict[str, Any]) -> None:
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / _CONFIG).write_text(text, encoding="utf-8")
