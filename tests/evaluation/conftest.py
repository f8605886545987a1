import pytest
import torch
from transformers import AutoTokenizer, pipeline

import thex_hf
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
)

torch.set_num_threads(1)

GOOD = ["a warm and funny film", "lovely , moving and beautifully acted", "great fun"]
BAD = ["a dull mess", "unflinchingly bleak and desperate", "boring and far too long , sadly"]


@pytest.fixture(scope="session")
def tokenizer():
    return AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())


@pytest.fixture(scope="session")
def classifier():
    """The bundled model."""
    return pipeline(
        "thex-text-classification", model=thex_hf.bundled_checkpoint("the-x"), device=-1
    )


@pytest.fixture(scope="session")
def tiny(tokenizer):
    """Makes pipelines of small random models, quick on ciphertexts too."""

    def make(seed=0, **changes):
        torch.manual_seed(seed)
        sizes = {
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 128,
            "initializer_range": 0.3,
        }
        model = ThexBertForSequenceClassification(ThexBertConfig(**{**sizes, **changes})).eval()
        return pipeline("thex-text-classification", model=model, tokenizer=tokenizer, device=-1)

    return make


@pytest.fixture(scope="session")
def regressor(tiny):
    return tiny(num_labels=1, problem_type="regression")


@pytest.fixture
def sentences(tmp_path):
    """A file of six texts, three of each class; the model is right about all of them."""
    lines = ["label\ttext", *(f"1\t{text}" for text in GOOD), *(f"0\t{text}" for text in BAD)]
    path = tmp_path / "dev.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def no_network(monkeypatch):
    """Any connection is an error."""
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError(f"a network connection was tried: {args}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="session")
def tagger(tokenizer):
    """A pipeline that tags words, of a small random model."""
    torch.manual_seed(1)
    config = ThexBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        initializer_range=0.3,
        id2label=dict(enumerate(["O", "B-PER", "I-PER", "B-LOC"])),
    )
    model = ThexBertForTokenClassification(config).eval()
    return pipeline("thex-token-classification", model=model, tokenizer=tokenizer, device=-1)
