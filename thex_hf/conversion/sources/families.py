"""The families: names of their tensors and of their configurations' fields."""

from __future__ import annotations

from thex_hf.conversion.sources.family import SIZES, Family, classes_of, layer_table

BERT = Family(
    name="BERT",
    prefix="bert",
    encoder=layer_table("bert"),
    classes={"bert": classes_of("Bert", "ForPreTraining")},
    lost=("bert.pooler.",),
    pooler=True,
)


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


LAYER, OURS = "distilbert.transformer.layer.#.", "thex_bert.layers.#."

DISTILBERT = Family(
    name="DistilBERT",
    prefix="distilbert",
    encoder=(
        ("distilbert.embeddings.LayerNorm.", "thex_bert.embeddings.norm."),
        ("distilbert.embeddings.", "thex_bert.embeddings."),
        (f"{LAYER}attention.q_lin.", f"{OURS}attention.query."),
        (f"{LAYER}attention.k_lin.", f"{OURS}attention.key."),
        (f"{LAYER}attention.v_lin.", f"{OURS}attention.value."),
        (f"{LAYER}attention.out_lin.", f"{OURS}attention.output."),
        (f"{LAYER}sa_layer_norm.", f"{OURS}attention_norm."),
        (f"{LAYER}ffn.lin1.", f"{OURS}up."),
        (f"{LAYER}ffn.lin2.", f"{OURS}down."),
        (f"{LAYER}output_layer_norm.", f"{OURS}output_norm."),
    ),
    classes={"distilbert": classes_of("DistilBert")},
    lost=("pre_classifier.",),
    sizes={
        "vocab_size": "vocab_size",
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "max_position_embeddings": "max_position_embeddings",
        "initializer_range": "initializer_range",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "pad_token_id": "pad_token_id",
    },
    constants={"layer_norm_eps": 1e-12, "type_vocab_size": 1},
    activation="activation",
    segments=False,
)
