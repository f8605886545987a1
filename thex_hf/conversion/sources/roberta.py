"""RoBERTa and its offspring: XLM-R, CamemBERT.

The first position is ``pad_token_id + 1``; the rows of the position table before it belong to
padding and go. Texts have a dense layer with tanh before the classifier, which goes too.
"""

from __future__ import annotations

from thex_hf.conversion.sources.family import Family, classes_of, layer_table

ROBERTA = Family(
    name="RoBERTa",
    prefix="roberta",
    encoder=layer_table("roberta"),
    classes={
        "roberta": classes_of("Roberta"),
        "xlm-roberta": classes_of("XLMRoberta"),
        "camembert": classes_of("Camembert"),
    },
    lost=("roberta.pooler.", "classifier.dense."),
    sequence_head="classifier.out_proj.",
    position_offset=2,
    pooler=True,
)
