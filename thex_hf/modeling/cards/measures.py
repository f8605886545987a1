"""What is known of a model's scores and costs, kept beside its weights as JSON.

``conversion.json`` is the report of the conversion, ``measures.json`` what was measured later.
Both are about certain weights: weights have a digest, and figures of other weights are not used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.weights import tensors_digest

REPORT_NAME = "conversion.json"
MEASURES_NAME = "measures.json"
RECORDS = (REPORT_NAME, MEASURES_NAME)
STAGES = {
    "unconverted": "unconverted",
    "fine_tuned": "fine-tuned, unconverted",
    "bounded": "small attention scores, no pooler",
    "bounding": "small attention scores, no pooler",
    "fitted": "polynomials fitted, not trained",
    "layer_norms": "trained, layer norms left",
    "roots": "polynomials in norms, not trained",
    "relu": "ReLU",
    "softmax": "softmax estimate",
    "relu_softmax": "ReLU and softmax estimate",
    "affine": "affine norms after LN distillation",
    "layer_wise": "after layer-wise distillation",
    "end_to_end": "after end-to-end training",
    "converted": "this checkpoint",
}
"""Stages in conversion reports, of all forms and of older versions too, in the order in which they
happen; and words for them."""
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

    def tensors() -> Iterator[tuple[str, Any]]:
        for name in sorted(places):
            with safe_open(places[name], framework="pt") as file:
                yield name, file.get_tensor(name).float().numpy()

    return tensors_digest([getattr(config, name) for name in FUNCTION], tensors())


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """One of :data:`RECORDS`; None where there is no such file or no JSON object in it."""
    try:
        record = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def read_measures(folder: Path) -> dict[str, Any] | None:
    """The measures of a folder if they are about the weights and ranges that lie there."""
    measures = read_record(folder, MEASURES_NAME)
    if not measures or measures.get("ranges", ranges := _ranges_digest(folder)) != ranges:
        return None
    return measures if measures.get("weights") == model_digest(folder) else None


def write_measures(folder: Path, measures: dict[str, Any]) -> Path:
    """Write ``measures.json`` with the digests of the folder's weights and ranges.

    Args:
        folder: a model's folder.
        measures: plain values; see ``docs/model_cards.md`` for the names.
    """
    path = folder / MEASURES_NAME
    known = {"weights": model_digest(folder), "ranges": _ranges_digest(folder)}
    record = {**measures, **known}
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def outdate_measures(folder: Path) -> None:
    """Mark a folder's measures as those of the ranges that it has now, before these change.

    Costs and encrypted scores depend on the ranges; measures of an earlier version do not say which
    they had.
    """
    measures = read_record(folder, MEASURES_NAME)
    if measures and "ranges" not in measures:
        record = {**measures, "ranges": _ranges_digest(folder)}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        (folder / MEASURES_NAME).write_text(text, encoding="utf-8")


def _ranges_digest(folder: Path) -> str:
    """Digest of the calibrated ranges in a folder's ``config.json``; 32 hex digits."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return tensors_digest([config.get("ranges")], ())


def is_partial(row: Mapping[str, Any], measures: Mapping[str, Any]) -> bool:
    """Whether a row of ``scores`` is about some of the texts only, or nobody knows how many.

    Args:
        row: one of the measures' ``scores``.
        measures: their ``texts`` say how many there are.
    """
    available = (measures.get("texts") or {}).get("available")
    return available is None or row.get("texts") != available


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
