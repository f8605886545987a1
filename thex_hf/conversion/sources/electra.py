"""ELECTRA: embeddings narrower than the stream, and a linear map between them.

Texts have a dense layer with GELU before the classifier, which goes. The embeddings with
their map are the client's work.
"""

from __future__ import annotations

from thex_hf.conversion.sources.family import SIZES, Family, classes_of, layer_table

ELECTRA = Family(
    name="ELECTRA",
    prefix="electra",
    encoder=(
        ("electra.embeddings_project.", "thex_bert.embeddings.embeddings_project."),
        *layer_table("electra"),
    ),
    classes={"electra": classes_of("Electra", "ForPreTraining")},
    lost=("classifier.dense.",),
    sequence_head="classifier.out_proj.",
    sizes={**SIZES, "embedding_size": "embedding_size"},
)
