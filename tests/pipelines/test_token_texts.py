"""Many texts, bad texts and threads, for a classifier of tokens."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, pipeline

import thex_hf
from thex_hf.errors import InputError, OptionError
from thex_hf.modeling import ThexBertConfig, ThexBertForTokenClassification
from thex_hf.modeling.calibrate import measure_ranges

TEXT, SHORT = "Wolfgang visits Reykjavik and Johanna.", "Paris is far."
MIXED = [TEXT, " ", SHORT, None, "word " * 200]


@pytest.fixture(scope="module")
def tagger():
    tokenizer = AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())
    torch.manual_seed(2)
    config = ThexBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=140,
        initializer_range=0.3,
        id2label={0: "O", 1: "B-PER", 2: "B-LOC"},
        label2id={"O": 0, "B-PER": 1, "B-LOC": 2},
    )
    model = ThexBertForTokenClassification(config).eval()
    sample = tokenizer([TEXT, SHORT, "word " * 100], padding=True, return_tensors="pt")
    model.config.ranges = measure_ranges(model, [sample])
    return pipeline(
        "thex-token-classification",
        model=model,
        tokenizer=tokenizer,
        ignore_labels=[],
        fhe="simulate",
    )


def words(rows):
    return [row and [piece["word"] for piece in row] for row in rows]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_bad_texts_are_named_or_skipped(tagger, batch_size):
    rows = tagger(MIXED, on_error="skip", batch_size=batch_size)
    assert [row is None for row in rows] == [False, True, False, True, True]
    assert words(rows)[2] == ["paris", "is", "far", "."]
    assert [bool(report.error) for report in tagger.reports] == [False, True, False, True, True]
    with pytest.raises(InputError, match="text 2: the text is empty") as caught:
        tagger(MIXED)
    assert caught.value.row == 2
    assert tagger.reports == []
    with pytest.raises(InputError, match="text 2: the text is empty"):
        list(tagger(iter(MIXED)))
    assert tagger.reports[0].logits
    assert words(tagger(iter(MIXED), on_error="skip")) == words(rows)


def test_words_that_are_empty_or_none(tagger):
    options = {"is_split_into_words": True}
    texts = [SHORT.split(), [], ["a", ""], ("a", "tuple"), TEXT.split()]
    rows = tagger(texts, on_error="skip", **options)
    assert [row is None for row in rows] == [False, True, True, True, False]
    with pytest.raises(InputError, match="text 2: with is_split_into_words=True"):
        tagger(texts, **options)
    (alone,) = tagger(SHORT.split(), **options)
    assert [row["word"] for row in alone] == words(rows)[0]


def test_options_of_the_constructor_stay(tagger):
    pipe = pipeline(
        "thex-token-classification",
        model=tagger.model,
        tokenizer=tagger.tokenizer,
        ignore_labels=[],
        fhe="disable",
        is_split_into_words=True,
        delimiter="_",
    )
    found = pipe([["Paris", "is"], ["far"]])
    assert [[piece["start"] for piece in row] for row in found] == [[0, 6], [0]]


def test_arrays_and_tuples_of_texts(tagger):
    wanted = words(tagger([TEXT, SHORT]))
    assert words(tagger((TEXT, SHORT))) == words(tagger(np.array([TEXT, SHORT]))) == wanted


@pytest.mark.parametrize(
    ("inputs", "options", "reason"),
    [
        (SHORT, {"ignore_labels": "O"}, "list of label names"),
        (SHORT, {"is_split_into_words": "yes"}, "True or False"),
        (SHORT, {"truncation": "longest"}, "did you mean 'longest_first'"),
        ([["a"]], {"is_split_into_words": True, "delimiter": 3}, "delimiter must be a string"),
        ([SHORT], {"offset_mapping": [(0, 1)]}, "one text"),
        (SHORT, {"batch_size": 0}, "batch_size"),
        (SHORT, {"num_workers": 1}, "num_workers"),
        (SHORT, {"on_error": "rase"}, "did you mean 'raise'"),
    ],
)
def test_options_that_mean_nothing_are_refused(tagger, inputs, options, reason):
    with pytest.raises(OptionError, match=reason):
        tagger(inputs, **options)


def test_threads(tagger):
    texts = [f"{'word ' * n}Paris" for n in range(6)]

    def work(text):
        found = tagger(text, truncation=len(text) % 2 == 0)
        return len(found), tagger.report.tokens

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, texts)) == [(n + 1, n + 3) for n in range(6)]
