"""What is known of a model's scores and costs, kept beside its weights as JSON.

``conversion.json`` is the report of the conversion, ``measures.json`` what was measured later.
Both are about certain weights: weights have a digest, and figures of other weights are not used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open

from thex_hf.modeling.configuration_thex_bert import ThexBertConfig

REPORT_NAME = "conversion.json"
MEASURES_NAME = "measures.json"
RECORDS = (REPORT_NAME, MEASURES_NAME)
FUNCTION = ("activation", "softmax", "norm", "attention_power", "pooling")
"""Fields of the configuration that decide, with the weights, what a model computes."""


def model_digest(folder: Path) -> str:
    """SHA-256 of a model's function: its weights as float32 numbers, and its approximations.

    The same for a float16 file and for the float32 file that loading and saving it gives.

    Returns:
        32 hex digits.
    """
    places: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            places |= dict.fromkeys(file.keys(), path)
    config = ThexBertConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    kinds = [getattr(config, name) for name in FUNCTION]
    digest = hashlib.sha256(json.dumps(kinds).encode())
    for name in sorted(places):
        with safe_open(places[name], framework="pt") as file:
            tensor = file.get_tensor(name).float().contiguous()
        digest.update(f"{name}:{tuple(tensor.shape)}:".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:32]


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """One of :data:`RECORDS`; None where there is no such file or no JSON object in it."""
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def read_measures(folder: Path) -> dict[str, Any] | None:
    """The measures of a folder if they are about the weights that lie there."""
    found = read_record(folder, MEASURES_NAME)
    return found if found and found.get("weights") == model_digest(folder) else None


def write_measures(folder: Path, measures: dict[str, Any]) -> Path:
    """Write ``measures.json`` with the digest of the folder's weights.

    Args:
        folder: a model's folder.
        measures: plain values; see ``docs/model_cards.md`` for the names.
    """
    path = folder / MEASURES_NAME
    record = {"weights": model_digest(folder), **measures}
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def carry_records(source: Path, target: Path, *extra: str) -> None:
    """Copy records (and ``extra`` files) that ``target`` lacks, if both hold the same weights.

    So a model that was loaded and saved again keeps its figures, and one that was trained in
    between does not.

    Args:
        source: folder that the model was loaded from; anything else does nothing.
        target: folder that it was saved in.
        *extra: further file names.
    """
    if not (source / "config.json").is_file() or source.resolve() == target.resolve():
        return
    known = (*RECORDS, *extra)
    names = [n for n in known if (source / n).is_file() and not (target / n).exists()]
    if names and model_digest(source) == model_digest(target):
        for name in names:
            shutil.copyfile(source / name, target / name)
