"""BERT, and what has its layout: MiniLM, TinyBERT, most sentence encoders."""

from __future__ import annotations

from thex_hf.conversion.sources.family import Family, classes_of, layer_table

BERT = Family(
    name="BERT",
    prefix="bert",
    encoder=layer_table("bert"),
    classes={"bert": classes_of("Bert", "ForPreTraining")},
    lost=("bert.pooler.",),
    pooler=True,
)
