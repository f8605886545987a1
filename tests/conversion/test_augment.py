"""Disturbed texts: shapes, what stays, and where every token comes from."""

import pytest
import torch
from source_models import make_tokenizer
from transformers import AutoTokenizer

from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.conversion.options import FitOptions
from thex_hf.conversion.training.augment import augment, drop_tokens, mix_texts, swap_tokens
from thex_hf.conversion.training.batches import collate, encode

A = ("good film", "a very fine plot the plot", "dull", "great the film")
B = ("bad plot", "poor", "very very fine a film", "the good")


def pairs(tokenizer, first=A, second=B):
    texts = LabelledTexts(tuple(first), tuple(second), (0,) * len(first), ("x", "y"))
    return encode(tokenizer, texts, 16)


def prepare(bert_folder, data_files):
    data = read_texts(data_files[0])
    return encode(AutoTokenizer.from_pretrained(bert_folder), data, 32)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_token_dropout_spares_first_token_and_padding(bert_folder, data_files):
    data = prepare(bert_folder, data_files)
    batch = collate(data, torch.arange(50))
    out = drop_tokens(batch, data, 1.0, torch.Generator().manual_seed(0))["input_ids"]
    assert torch.equal(out[:, 0], batch["input_ids"][:, 0])
    padding = batch["attention_mask"] == 0
    assert torch.equal(out[padding], batch["input_ids"][padding])
    assert set(out[:, 1:][~padding[:, 1:]].tolist()) == {data.mask_id}


def test_swapped_tokens_come_from_the_batch_and_spare_first_token_and_padding(
    bert_folder, data_files
):
    data = prepare(bert_folder, data_files)
    batch = collate(data, torch.arange(50))
    out = swap_tokens(batch, 0.5, torch.Generator().manual_seed(0))["input_ids"]
    real = batch["attention_mask"] == 1
    assert torch.equal(out[:, 0], batch["input_ids"][:, 0])
    assert torch.equal(out[~real], batch["input_ids"][~real])
    changed = (out != batch["input_ids"])[real].float().mean()
    assert 0.2 < changed < 0.5
    first = batch["input_ids"][0, 0]
    assert first not in out[:, 1:]
    assert set(out[real].tolist()) <= set(batch["input_ids"][real].tolist())
    assert swap_tokens(batch, 0.0, torch.Generator()) is batch


@pytest.mark.parametrize("pad", [0, 1])
def test_spans_hold_the_two_texts(pad):
    tokenizer = make_tokenizer(pad)
    data = pairs(tokenizer)
    for row, (first, second) in enumerate(zip(A, B, strict=True)):
        a, b, c, d = data.spans[row].tolist()
        assert tokenizer.decode(data.ids[row][a:b]) == first
        assert tokenizer.decode(data.ids[row][c:d]) == second


def test_a_mixed_pair_keeps_its_frame_and_takes_words_of_the_batch(bert_folder):
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    words = tokenizer.convert_ids_to_tokens(range(5, 15))
    first = [" ".join(words[i : i + 3]) for i in range(6)]
    second = [" ".join(words[i : i + 2 + i % 3]) for i in range(6)]
    batch = collate(pairs(tokenizer, first, second), torch.arange(6))
    seen = set()
    for seed in range(20):
        out = mix_texts(batch, 1.0, generator(seed))
        assert {k: v.shape for k, v in out.items()} == {k: v.shape for k, v in batch.items()}
        for ids, mask, kinds in zip(
            out["input_ids"], out["attention_mask"], out["token_type_ids"], strict=True
        ):
            real = ids[mask == 1].tolist()
            assert mask.tolist() == sorted(mask.tolist(), reverse=True)
            assert real[0] == tokenizer.cls_token_id
            assert real[-1] == tokenizer.sep_token_id
            assert real.count(tokenizer.sep_token_id) == 2
            first = real.index(tokenizer.sep_token_id) + 1
            assert kinds[: len(real)].tolist() == [0] * first + [1] * (len(real) - first)
            assert set(real) <= set(batch["input_ids"].unique().tolist())
            seen.add(tuple(real))
    assert len(seen) > 60  # six pairs became many


def test_a_single_text_becomes_one_beginning_and_another_end(bert_folder, data_files):
    data = prepare(bert_folder, data_files)
    batch = collate(data, torch.arange(40))
    out = mix_texts(batch, 1.0, generator())
    texts = [tuple(ids[1:-1].tolist()) for ids in data.ids[:40]]
    for place in range(40):
        own = tuple(out["input_ids"][place][out["attention_mask"][place] == 1][1:-1].tolist())
        width = batch["input_ids"].shape[1] - 2
        assert any(
            (texts[place][:cut] + other[end:])[:width] == own
            for cut in range(len(texts[place]) + 1)
            for other in texts
            for end in range(len(other) + 1)
        )
    assert not torch.equal(out["input_ids"], batch["input_ids"])


def test_shares_of_zero_leave_a_batch_alone(bert_folder, data_files):
    data = prepare(bert_folder, data_files)
    batch = collate(data, torch.arange(8))
    assert augment(batch, data, FitOptions(), generator()) is batch
    without = {name: tensor for name, tensor in batch.items() if name != "spans"}
    assert mix_texts(without, 1.0, generator()) is without
