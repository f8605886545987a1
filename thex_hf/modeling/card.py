"""Write the model card of a THE-X checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS, ThexBertConfig

TEMPLATE = Path(__file__).with_name("card_template.md")
TAGS = ["thex", "fhe", "homomorphic-encryption", "ckks"]


def write_card(
    folder: Path,
    report: dict[str, Any] | None = None,
    *,
    notes: str = "",
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Write ``README.md`` into a checkpoint folder, unless there is one already.

    Args:
        folder: holds the checkpoint's ``config.json``.
        report: a conversion report as a dictionary; accuracies are left out without it.
        notes: Markdown put at the end.
        metadata: further fields for the head, such as ``license`` or ``datasets``.

    Returns:
        The path of ``README.md``; an existing file is left as it is.
    """
    path = folder / "README.md"
    if path.exists():
        return path
    config = ThexBertConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    data = ModelCardData(
        pipeline_tag="text-classification",
        library_name="thex_hf",
        tags=TAGS,
        **(metadata or {}),
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=folder.resolve().name,
        source=(report or {}).get("source", "a fine-tuned BERT"),
        activation=config.activation,
        softmax=config.softmax,
        norm=config.norm,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        intermediate=config.intermediate_size,
        labels=config.num_labels,
        report=report,
        ranges=config.ranges,
        range_keys=RANGE_KEYS,
        notes=notes,
    )
    path.write_text(str(card), encoding="utf-8")
    return path
