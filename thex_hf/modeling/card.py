"""Write the model card of a THE-X checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS, ThexBertConfig

TEMPLATE = Path(__file__).with_name("card_template.md")
TAGS = ["thex", "fhe", "homomorphic-encryption", "ckks"]
PROTOCOLS = {"the-x": ("client-aided",), "polynomial": ("refresh", "one-shot"), "unconverted": ()}
"""Protocols that models of each form serve."""

STAGES = {
    "unconverted": "unconverted",
    "relu_softmax": "ReLU and softmax estimate",
    "affine": "affine norms after LN distillation",
    "bounded": "small attention scores, no pooler",
    "fitted": "polynomials fitted, not trained",
    "layer_wise": "after layer-wise distillation",
    "converted": "this checkpoint",
}
WORDS: dict[str, Any] = {
    "activations": {
        "relu": "relu",
        "quadratic": "a x^2 + b x + c, learned in each layer",
        "gelu": "gelu",
    },
    "places": {"relu": "client, during a visit", "quadratic": "server", "gelu": "not encrypted"},
    "norms": {
        "affine": "gamma * x + beta",
        "centred": "gamma * (x - mean(x)) + beta",
        "layernorm": "exact",
    },
}


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
        form=config.form,
        protocols=" and ".join(f"`{name}`" for name in PROTOCOLS[config.form]),
        softmaxes={
            "estimate": "ReLU((x/2+1)^3) times a learned reciprocal of the row sum",
            "power": f"(x + c)^{config.attention_power} / (R n), c and R learned for each head",
            "exact": "exact",
        },
        **WORDS,
        stage_names=STAGES,
        figures=_figures(report or {}),
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


def _figures(report: dict[str, Any]) -> dict[str, float | None]:
    """Find the score of each stage in a report, in or outside its ``stages``."""
    stages = report.get("stages") or {}
    return {name: stages.get(name, report.get(name)) for name in STAGES}
