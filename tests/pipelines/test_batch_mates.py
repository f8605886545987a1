"""A text's answer is the same alone and in any batch, wherever the tokenizer pads."""

import copy

import numpy as np
import pytest
import torch
from tiny_pipelines import KINDS, make, open_tokens

from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.scores import predict
from thex_hf.conversion.training.batches import encode
from thex_hf.errors import InputError
from thex_hf.evaluation.runs import classify

TEXTS = ["loud film", "A warm, funny and beautifully acted film that nobody should miss.", "dull"]
HEADS = [("text", "cls"), ("text", "mean"), ("token", "cls")]


def padding(task, side, pooling="cls", positions=64):
    return make(
        task,
        open_tokens(padding_side=side),
        pooling=pooling,
        max_position_embeddings=positions,
        id2label={0: "O", 1: "B-X", 2: "I-X"},
    )


def logits_of(pipe, texts, **options):
    pipe(texts, **options)
    return [np.array(report.logits) for report in pipe.reports]


@pytest.mark.parametrize(("task", "pooling"), HEADS)
@pytest.mark.parametrize("fhe", ["disable", "simulate"])
def test_in_clear_and_simulated(task, pooling, fhe):
    left, right = (padding(task, side, pooling) for side in ("left", "right"))
    alone = [logits_of(right, text, fhe=fhe)[0] for text in TEXTS]
    for pipe in (left, right):
        together = logits_of(pipe, TEXTS, fhe=fhe, batch_size=3)
        scored = classify(pipe, TEXTS, fhe=fhe, batch_size=2).logits
        for mine, other, one in zip(alone, together, scored, strict=True):
            atol = 0 if fhe == "disable" else 1e-3  # the noise is drawn anew
            np.testing.assert_allclose(other, mine, atol=atol)
            np.testing.assert_allclose(one, mine, atol=atol)
    one, other = (np.ravel(alone[place])[:3] for place in (0, 2))
    assert np.abs(one - other).max() > 0.01  # or nothing is shown


@pytest.mark.parametrize("task", ["text", pytest.param("token", marks=pytest.mark.slow)])
def test_on_ciphertexts(task):
    pipe = padding(task, "left")
    want = [logits_of(pipe, text, fhe="disable")[0] for text in TEXTS[::2]]
    found = logits_of(pipe, TEXTS[::2], fhe="execute", batch_size=2)
    for mine, clear in zip(found, want, strict=True):
        np.testing.assert_allclose(mine, clear, atol=0.02)


def test_tags_stay_with_their_tokens():
    left, right = (padding("token", side) for side in ("left", "right"))
    for strategy in ("none", "first"):
        options = {"fhe": "disable", "ignore_labels": [], "aggregation_strategy": strategy}
        alone = [right(text, **options) for text in TEXTS]
        for found, wanted in zip(left(TEXTS, batch_size=3, **options), alone, strict=True):
            assert found == wanted


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_conversion_scores_what_the_pipeline_says(pooling):
    pipe = padding("text", "left", pooling)
    data = LabelledTexts(tuple(TEXTS), None, (0, 1, 2), ("O", "B-X", "I-X"))
    found = predict(pipe.model, encode(pipe.tokenizer, data, 64), size=3).numpy()
    np.testing.assert_allclose(found, logits_of(pipe, TEXTS, fhe="disable"), atol=1e-5)


@pytest.mark.parametrize(("task", "pooling"), HEADS)
def test_the_bare_model_counts_positions_from_the_first_token(task, pooling):
    pipe = padding(task, "left", pooling, positions=20)
    batch = pipe.tokenizer(TEXTS, padding="max_length", max_length=40, return_tensors="pt")
    found = pipe.model(**batch).logits  # 40 columns, 20 positions, and no text is as long
    for row, text in enumerate(TEXTS):
        own = found[row, batch["attention_mask"][row].bool()] if task == "token" else found[row]
        alone = pipe.model(**pipe.tokenizer(text, return_tensors="pt")).logits[0]
        torch.testing.assert_close(own, alone, atol=1e-5, rtol=0)


def test_a_hole_in_a_mask_hides_a_token_and_moves_nothing():
    model = padding("text", "right").model
    ids = torch.tensor([[101, 2307, 3185, 2204, 102]])
    mask = torch.tensor([[1, 1, 0, 1, 1]])
    other = copy.deepcopy(ids)
    other[0, 2] = 999
    found = model(ids, mask).logits
    torch.testing.assert_close(found, model(other, mask).logits)
    assert not torch.allclose(found, model(ids[:, mask[0].bool()]).logits, atol=1e-4)


def test_more_tokens_than_positions_are_refused_by_the_bare_model():
    model = padding("text", "right", positions=20).model
    with pytest.raises(InputError, match="has 21 tokens, the model has positions for 20"):
        model(torch.ones((1, 21), dtype=torch.long))
    mask = torch.ones((2, 30), dtype=torch.long)
    mask[0, :5] = 0
    with pytest.raises(InputError, match="has 30 tokens"):
        model(torch.ones_like(mask), mask)


@pytest.mark.parametrize("task", KINDS)
def test_any_padding_token_will_do_and_none_too(task):
    pipe = padding(task, "left")
    want = logits_of(pipe, TEXTS, fhe="disable")
    for token in ("[SEP]", "film", None):
        pipe.tokenizer.pad_token = token
        alone = logits_of(pipe, TEXTS, fhe="disable")
        assert [own.tolist() for own in alone] == [own.tolist() for own in want]
        together = logits_of(pipe, TEXTS, fhe="disable", batch_size=3)
        assert [own.tolist() for own in together] == [own.tolist() for own in want]
