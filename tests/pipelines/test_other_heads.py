"""Text pipelines on models that read the mean row, and on narrow embeddings."""

import pytest
import torch
from transformers import AutoTokenizer, pipeline

import thex_hf
from thex_hf.modeling import ThexBertConfig, ThexBertForSequenceClassification
from thex_hf.modeling.calibrate import measure_ranges

TEXTS = ["A warm, funny and beautifully acted film.", "Dull."]


@pytest.mark.parametrize("protocol", ["client-aided", "refresh", "one-shot"])
def test_simulated_answers_are_those_of_the_clear_model(protocol):
    tokenizer = AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())
    kinds = {} if protocol == "client-aided" else {"activation": "quadratic", "softmax": "power"}
    torch.manual_seed(0)
    config = ThexBertConfig(
        hidden_size=32,
        embedding_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=140,
        initializer_range=0.2,
        num_labels=3,
        pooling="mean",
        **kinds,
    )
    model = ThexBertForSequenceClassification(config).eval()
    sample = tokenizer([*TEXTS, "word " * 100], padding=True, return_tensors="pt")
    model.config.ranges = measure_ranges(model, [sample])
    pipe = pipeline("thex-text-classification", model=model, tokenizer=tokenizer, protocol=protocol)
    pipe(TEXTS, fhe="simulate", agreement=True)
    first_row = ThexBertForSequenceClassification(
        ThexBertConfig(**{**config.to_dict(), "pooling": "cls"})
    )
    first_row.load_state_dict(model.state_dict())
    for text, report in zip(TEXTS, pipe.reports, strict=True):
        assert 0 < report.agreement.largest_logit_difference < 0.02
        other = first_row.eval()(**tokenizer(text, return_tensors="pt")).logits[0]
        assert (other - torch.tensor(report.logits)).abs().max() > 0.05
