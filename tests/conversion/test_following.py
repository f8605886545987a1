"""Following a source: whose streams are followed, and the variances that are held together."""

import pytest
import torch
from source_models import STEMS, make_source, make_tokenizer

from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.options import FitOptions, LossOptions
from thex_hf.conversion.replacements import copy_polynomial, fit_replacements
from thex_hf.conversion.sources import start_model
from thex_hf.conversion.training.batches import encode
from thex_hf.conversion.training.spread import LEAST_VARIANCE, LogVariance, log_variance
from thex_hf.conversion.training.stages import TrainingStage, follow, same_streams

torch.set_num_threads(1)

WORDS = ("good film", "a fine plot", "dull", "great the film", "bad plot", "the very poor film")
TEXTS = LabelledTexts(WORDS, None, (0, 1, 2) * 2, ("x", "y", "z"))


@pytest.mark.parametrize("kind", list(STEMS))
def test_a_source_shows_the_streams_of_its_copy(kind):
    source = make_source(kind)
    copy = start_model(source, activation="gelu", softmax="exact")
    data = encode(make_tokenizer(source.config.pad_token_id), TEXTS, 20)
    assert same_streams(copy, source, data)
    with torch.no_grad():
        copy.thex_bert.layers[0].down.bias[0].add_(1.0)
    assert not same_streams(copy, source, data)


@pytest.mark.parametrize("shared", [True, False])
def test_following_asks_the_copy_only_if_the_source_shows_other_streams(monkeypatch, shared):
    source = make_source("bert")
    copy = start_model(source, activation="gelu", softmax="exact")
    if not shared:
        with torch.no_grad():
            copy.thex_bert.layers[0].down.bias[0].add_(1.0)
    data, asked = encode(make_tokenizer(), TEXTS, 20), []
    student = copy_polynomial(copy, 2, "affine")
    fit_replacements(copy, student, data, 64, "calibrated")
    copy.thex_bert.layers[0].register_forward_hook(lambda *_: asked.append(1))
    losses = LossOptions(guide=1.0, hidden=1.0)
    stage = TrainingStage(data, FitOptions(epochs=3.0), losses, "following", Checkpoint())
    follow(student, copy, stage, source)
    assert len(asked) == (1 if shared else 4)  # one looks, and three steps


def test_the_log_of_a_variance_and_its_gradient():
    values = torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    expected = torch.log(values.var(-1, correction=0) + LEAST_VARIANCE)
    assert torch.allclose(log_variance(values), expected.float(), atol=1e-5)
    assert torch.autograd.gradcheck(LogVariance.apply, (values,))
