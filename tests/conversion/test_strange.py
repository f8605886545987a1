"""Strange texts: their shapes, their frames, and the words they are made of."""

import pytest
import torch
from source_models import make_tokenizer

from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.training.augment import estrange, lengthen, repeated_words, strange_batches
from thex_hf.conversion.training.batches import Row, collate, encode

A = ("good film", "a very fine plot the plot", "dull", "great the film")
B = ("bad plot", "poor", "very very fine a film", "the good")


def encoded(paired, longest=24):
    tokenizer = make_tokenizer(0)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    texts = LabelledTexts(A, B if paired else None, (0, 1, 0, 1), ("x", "y"))
    return tokenizer, encode(tokenizer, texts, longest)


def rows(batch):
    """Ids and segments of the true tokens, after a check that padding comes last."""
    found = []
    for ids, mask, kinds in zip(
        batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], strict=True
    ):
        count = int(mask.sum())
        assert mask.tolist() == [1] * count + [0] * (len(mask) - count)
        found.append((ids[:count].tolist(), kinds[:count].tolist()))
    return found


def check_frame(tokenizer, batch, paired):
    for ids, kinds in rows(batch):
        assert ids[0] == tokenizer.cls_token_id
        assert ids[-1] == tokenizer.sep_token_id
        assert ids.count(tokenizer.sep_token_id) == 1 + paired
        first = ids.index(tokenizer.sep_token_id) + 1
        assert kinds == [0] * first + [1] * (len(ids) - first)


def test_words_are_those_of_the_vocabulary_without_special_ones():
    tokenizer, data = encoded(False)
    names = tokenizer.convert_ids_to_tokens(data.words.tolist())
    assert set(names) == set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)


@pytest.mark.parametrize("paired", [False, True])
def test_strange_texts_keep_shape_and_frame(paired):
    tokenizer, data = encoded(paired)
    batch = collate(data, torch.arange(4))
    seen = set()
    for seed in range(60):
        out = estrange(batch, data, 1.0, torch.Generator().manual_seed(seed))
        assert {k: v.shape for k, v in out.items()} == {k: v.shape for k, v in batch.items()}
        check_frame(tokenizer, out, paired)
        seen |= {tuple(ids) for ids, _ in rows(out)}
    assert len(seen) > 80
    special = set(tokenizer.all_special_ids)
    inner = [[i for i in ids if i not in special] for ids in seen]
    assert min(map(len, inner)) == (2 if paired else 1)
    assert any(len(ids) > 5 and len(set(ids)) == 1 for ids in inner)


def test_a_share_of_zero_leaves_a_batch_alone():
    _, data = encoded(False)
    batch = collate(data, torch.arange(4))
    assert estrange(batch, data, 0.0, torch.Generator()) is batch
    assert lengthen(batch, data, 0.0, torch.Generator()) is batch


@pytest.mark.parametrize("paired", [False, True])
def test_long_texts_reach_the_limit_and_cost_no_more(paired):
    tokenizer, data = encoded(paired, longest=40)
    batch = collate(data, torch.arange(4))
    lengths = []
    for seed in range(40):
        out = lengthen(batch, data, 1.0, torch.Generator().manual_seed(seed))
        check_frame(tokenizer, out, paired)
        assert out["input_ids"].shape[1] == 40
        assert out["input_ids"].numel() <= max(40, batch["input_ids"].numel())
        assert len(out["labels"]) == len(out["spans"]) == len(out["input_ids"])
        lengths += [len(ids) for ids, _ in rows(out)]
    assert max(lengths) == 40
    assert min(lengths) < 30


def test_tags_of_long_texts_have_the_length_of_the_batch():
    tokenizer = make_tokenizer(0)
    words = tuple(tuple(text.split()) for text in A)
    tags = tuple((0,) * len(own) for own in words)
    texts = LabelledTexts(A, None, tags, ("O", "B"), "tags", words)
    data = encode(tokenizer, texts, 30)
    out = lengthen(collate(data, torch.arange(4)), data, 1.0, torch.Generator().manual_seed(1))
    assert out["labels"].shape == out["input_ids"].shape


def test_batches_to_measure_on_are_as_many_as_asked_and_repeatable():
    _, data = encoded(True)
    found = strange_batches(data, 10, seed=3, size=4)
    assert sum(len(batch["input_ids"]) for batch in found) <= 10
    again = strange_batches(data, 10, seed=3, size=4)
    for one, two in zip(found, again, strict=True):
        assert torch.equal(one["input_ids"], two["input_ids"])
    other = strange_batches(data, 10, seed=4, size=4)
    assert any(
        one["input_ids"].shape != two["input_ids"].shape
        or not torch.equal(one["input_ids"], two["input_ids"])
        for one, two in zip(found, other, strict=True)
    )


@pytest.mark.parametrize("paired", [False, True])
def test_a_changed_row_can_be_changed_again(paired):
    _, data = encoded(paired, longest=40)
    whole = None
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        batch = lengthen(collate(data, torch.arange(4)), data, 1.0, generator)
        for out in (batch, estrange(batch, data, 1.0, generator)):
            for row, (ids, _) in zip(Row.of(out), rows(out), strict=True):
                whole = whole or len(row.frame)
                assert len(row.frame) == whole == 2 + paired
                assert len(row.first) + len(row.second) == len(ids) - whole


@pytest.mark.parametrize("paired", [False, True])
def test_each_word_repeated(paired):
    tokenizer, data = encoded(paired, longest=40)
    found, lengths = [], set()
    for batch in repeated_words(data, 100, seed=1, size=3):
        check_frame(tokenizer, batch, paired)
        for row in Row.of(batch):
            assert set(row.second.tolist()) <= {int(row.first[0])} == set(row.first.tolist())
            found.append(int(row.first[0]))
            lengths.add(len(row.first))
    assert sorted(found) == sorted(data.words.tolist())
    assert len(lengths) > 2
    assert sum(len(batch["input_ids"]) for batch in repeated_words(data, 4, seed=1)) == 4
