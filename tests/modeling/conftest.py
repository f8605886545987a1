import logging

import pytest
import torch

from thex_hf.modeling import ThexBertConfig, ThexBertForSequenceClassification

torch.set_num_threads(1)


@pytest.fixture
def make_model():
    def make(**changes):
        torch.manual_seed(0)
        sizes = {
            "vocab_size": 20,
            "hidden_size": 32,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 24,
            "initializer_range": 0.2,
        }
        return ThexBertForSequenceClassification(ThexBertConfig(**{**sizes, **changes})).eval()

    return make


@pytest.fixture
def batch():
    ids = torch.tensor([[2, 5, 6, 7, 3, 0, 0, 0], [2, 9, 8, 3, 0, 0, 0, 0]])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.fixture
def heard():
    """Everything that the package's loggers say, as text."""
    lines = []

    class Ear(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    ear, logger = Ear(), logging.getLogger("thex_hf")
    logger.addHandler(ear)
    yield lines
    logger.removeHandler(ear)
