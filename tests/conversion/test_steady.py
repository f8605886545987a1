"""Steadying: which texts run away, and that training on them makes them fewer."""

import pytest
import torch
from source_models import make_tokenizer

from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.options import FitOptions, LossOptions
from thex_hf.conversion.replacements import copy_polynomial, fit_replacements
from thex_hf.conversion.training.batches import encode, sample
from thex_hf.conversion.training.stages import TrainingStage, steady, worst_texts
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
)
from thex_hf.modeling.calibrate import measure_ranges, text_sizes

torch.set_num_threads(1)

WORDS = ("good film", "a fine plot", "dull", "great the film", "bad plot", "the very poor film")


def exact(kind=ThexBertForSequenceClassification, size=0.3):
    torch.manual_seed(0)
    config = ThexBertConfig(
        vocab_size=20,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=size,
        activation="gelu",
        softmax="exact",
        norm="layernorm",
    )
    return kind(config).eval()


def data_of(tags=False):
    words = tuple(tuple(text.split()) for text in WORDS)
    marks = tuple((0,) * len(own) for own in words)
    texts = (
        LabelledTexts(WORDS, None, marks, ("O", "B"), "tags", words)
        if tags
        else LabelledTexts(WORDS, None, (0, 1) * 3, ("x", "y"))
    )
    return encode(make_tokenizer(0), texts, 24)


def fitted(model, data):
    student = copy_polynomial(model, 2, "affine")
    fit_replacements(model, student, data, 64, "calibrated")
    return student.eval()


def shares(student, data, texts):
    """Of each text the largest value, in ranges of the usual texts."""
    limits = measure_ranges(student, sample(data, 64))
    found = []
    for batch in sample(texts, len(texts), size=16):
        sizes = text_sizes(student, batch)
        over = [sizes[i][k] / v for i, own in enumerate(limits) for k, v in own.items()]
        found += torch.stack(over).amax(0).tolist()
    return found


@pytest.mark.parametrize("tags", [False, True])
def test_the_worst_texts_are_those_beyond_the_usual_range(tags):
    data = data_of(tags)
    student = fitted(
        exact(ThexBertForTokenClassification if tags else ThexBertForSequenceClassification), data
    )
    found = worst_texts(student, data, 128, 20, seed=1)
    assert 0 < len(found) <= 20
    assert min(shares(student, data, found)) > 0.99
    more = worst_texts(student, data, 128, 128, seed=1)
    assert [own.tolist() for own in more.ids[: len(found)]] == [own.tolist() for own in found.ids]
    joined = data.joined(found)
    assert len(joined) == len(data) + len(found)
    for batch in sample(joined, len(joined), size=4):
        assert batch["labels"].shape[0] == batch["input_ids"].shape[0]


def test_training_on_them_makes_their_values_smaller():
    data, model = data_of(), exact(size=0.6)
    student = fitted(model, data)
    before = max(shares(student, data, worst_texts(student, data, 128, 128, seed=5)))
    fitting = FitOptions(epochs=1.0, learning_rate=2e-3, batch_size=16, least_steps=60)
    stage = TrainingStage(
        data, fitting, LossOptions(guide=1.0, hidden=1.0), "steadying", Checkpoint()
    )
    steady(student, model, stage, rounds=2, drawn=128)
    after = shares(student, data, worst_texts(student, data, 128, 128, seed=5))
    assert before > 2
    assert max(after, default=1.0) < 0.8 * before
