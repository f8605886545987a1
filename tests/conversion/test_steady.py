"""Steadying: which texts run away, and that training on them makes them fewer."""

import pytest
import torch
from source_models import make_tokenizer

from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.options import FitOptions, LossOptions
from thex_hf.conversion.replacements import copy_polynomial, fit_replacements
from thex_hf.conversion.training.augment import likely_batches
from thex_hf.conversion.training.batches import encode, sample
from thex_hf.conversion.training.losses import run
from thex_hf.conversion.training.spread import Spread, farthest, log_variances
from thex_hf.conversion.training.stages import TrainingStage
from thex_hf.conversion.training.steadying import steady, worst_texts
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
    assert {tuple(own.tolist()) for own in found.ids} <= {tuple(own.tolist()) for own in more.ids}
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


def test_likely_texts_are_as_they_are_or_recombined_or_long():
    data = data_of()
    batches = likely_batches(data, 18, seed=3, size=6)
    assert [len(batch["input_ids"]) for batch in batches[:2]] == [6, 6]
    written = {tuple(ids.tolist()) for ids in data.ids}

    def texts(batch):
        rows = zip(batch["input_ids"], batch["attention_mask"].sum(-1), strict=True)
        return {tuple(ids[:length].tolist()) for ids, length in rows}

    assert texts(batches[0]) == written
    assert texts(batches[1]) - written
    usual = max(len(ids) for ids in data.ids)
    assert usual < max(len(text) for text in texts(batches[2])) <= data.longest
    known = {token for ids in data.ids for token in ids.tolist()}
    assert {token for batch in batches for text in texts(batch) for token in text} <= known
    again = likely_batches(data, 18, seed=3, size=6)
    assert all(
        torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(batches, again, strict=True)
    )


def test_texts_near_the_end_of_an_interval_count_as_worst_before_their_values_do():
    data, model = data_of(), exact()
    batches = sample(data, len(data), size=3)
    with torch.no_grad():
        every = [run(model, batch)[0] for batch in batches]
    largest = []
    for batch, traces in zip(batches, every, strict=True):
        logs = log_variances(traces[0])[1]
        largest.append(logs.masked_fill(batch["attention_mask"] == 0, -30.0).amax(-1))
    wide = [(-30.0, 30.0)] * 4
    end = float(torch.cat(largest).sort().values[-2])
    narrow = [wide[0], (-30.0, end), *wide[2:]]
    for batch, traces, ours in zip(batches, every, largest, strict=True):
        losses = LossOptions(interval_margin=(0.0, 0.25))
        beyond = farthest(model, traces, batch, torch.tensor(narrow), losses)
        assert torch.allclose(beyond, ours - end + 0.25, atol=1e-5)
    few, many = (
        worst_texts(model, data, 64, 64, seed=1, spread=Spread([0.0] * 4, ends), losses=losses)
        for ends in (wide, narrow)
    )
    assert len(many) > len(few)
