"""Whatever the tokenizer: training, scores, pipelines and clients read the same tokens."""

import numpy as np
import pytest
import torch
from example_counts import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizer_zoo import ZOO, tokenizer_of
from transformers import pipeline

from thex_hf.client.half import ClientHalf
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.output import save_tokenizer
from thex_hf.conversion.scores import predict
from thex_hf.conversion.training.batches import encode
from thex_hf.errors import ConversionError, InputError
from thex_hf.evaluation.reading import word_logits
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
)
from thex_hf.modeling.tasks import IGNORED
from thex_hf.pipelines.runner import embed_row

LETTERS = "abeilnrsAZé漢🙂,.-'\u0301\u200b\u200d\u00a0ﬁ"
WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            ["Anna", "lives", "in", "Berlin", "naïvely", "\u200b", "New York", "[SEP]"]
        ),
        st.text(LETTERS, min_size=1, max_size=6).filter(str.strip),
    ),
    min_size=1,
    max_size=12,
)
NAMES = tuple(f"TAG{number}" for number in range(12))


class Place:
    """A model folder with a tokenizer, and all that read texts there."""

    def __init__(self, name, folder):
        self.tokenizer = tokenizer_of(name)
        torch.manual_seed(0)
        config = ThexBertConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=8,
            embedding_size=4,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
            num_labels=len(NAMES),
            initializer_range=0.5,
        )
        for kind in (ThexBertForSequenceClassification, ThexBertForTokenClassification):
            kind(config).save_pretrained(folder / kind.__name__)
            save_tokenizer(self.tokenizer, folder / kind.__name__)
        texts, words = (str(folder / kind.__name__) for kind in (
            ThexBertForSequenceClassification, ThexBertForTokenClassification
        ))  # fmt: skip
        self.classifier = pipeline("thex-text-classification", model=texts)
        self.tagger = pipeline("thex-token-classification", model=words)
        self.half = ClientHalf.open(texts)


@pytest.fixture(scope="module", params=ZOO)
def place(request, tmp_path_factory):
    return Place(request.param, tmp_path_factory.mktemp("model"))


def by_definition(tokenizer, words):
    """The number of the first token that shares a character with each word."""
    text, firsts, begin = " ".join(words), [], 0
    spans = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    for word in words:
        own = range(begin, begin + len(word))
        hits = [i for i, span in enumerate(spans) if set(range(*span)) & set(own)]
        firsts.append(hits[0] if hits else None)
        begin += len(word) + 1
    return firsts


@settings(
    max_examples=examples(15),
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=WORDS)
def test_one_text_has_the_same_tokens_everywhere(place, words):
    text = " ".join(words)
    true = place.tokenizer(text, verbose=False)["input_ids"]
    assume(len(true) <= 64)
    tags = tuple(range(len(words)))
    data = LabelledTexts((text,), None, (tags,), NAMES, "tags", (tuple(words),))
    try:
        ids, _ = place.half.tokenise(text)
    except InputError:  # nothing is left of it
        with pytest.raises(ConversionError, match="nothing is left"):
            encode(place.tokenizer, data, 64)
        with pytest.raises(InputError, match="nothing is left"):
            place.classifier.preprocess(text)
        return
    assert ids.tolist() == true
    assert place.classifier.preprocess(text)["input_ids"].tolist() == [true]
    for inputs, options in ((text, {}), (words, {"is_split_into_words": True, "delimiter": "_"})):
        (row,) = place.tagger.preprocess(inputs, **options)
        assert row["input_ids"].tolist() == [true]
    encoded = encode(place.tokenizer, data, 64)
    assert encoded.ids[0].tolist() == true

    firsts = by_definition(place.tokenizer, words)
    wanted = [IGNORED] * len(true)
    for word, first in reversed([*enumerate(firsts)]):
        if first is not None:
            wanted[first] = word
    assert encoded.labels[0].tolist() == wanted
    rows = [[float(i)] for i in range(len(true))]
    found = word_logits(place.tokenizer, [words], [rows])[0]
    assert found == [None if first is None else rows[first] for first in firsts]


def test_pairs_have_the_same_segments_and_the_very_same_embeddings(place):
    for pair in (None, "Zoë works near Paris"):
        ids, types = place.half.tokenise("Anna lives in Berlin", pair)
        row = place.classifier.preprocess({"text": "Anna lives in Berlin", "text_pair": pair})
        assert row["input_ids"][0].tolist() == ids.tolist()
        assert row["token_type_ids"][0].tolist() == types.tolist()
        data = LabelledTexts(
            ("Anna lives in Berlin",), None if pair is None else (pair,), (0,), NAMES
        )
        encoded = encode(place.tokenizer, data, 64)
        assert encoded.ids[0].tolist() == ids.tolist()
        assert encoded.segments[0].tolist() == types.tolist()
        mine, theirs = embed_row(place.classifier.model, row), place.half.embed(ids, types)
        assert mine.dtype == theirs.dtype == np.float64
        assert np.array_equal(mine, theirs)
        with torch.no_grad():
            want = place.classifier.model.embed(row["input_ids"], row["token_type_ids"])
        np.testing.assert_allclose(mine, want[0].numpy(), atol=1e-5)


def test_cut_texts_have_the_same_tokens_everywhere(place):
    words = ["Anna", "visits", "Zoë", "in", "Berlin"] * 20
    (row,) = place.tagger.preprocess(" ".join(words), truncation=True)
    data = LabelledTexts(("",), None, ((0,) * 100,), NAMES, "tags", (tuple(words),))
    assert row["input_ids"].shape == (1, 64)
    assert encode(place.tokenizer, data, 128).ids[0].tolist() == row["input_ids"][0].tolist()
    place.tagger(" ".join(words), fhe="disable", truncation=True)
    logits = place.tagger.report.logits
    found = word_logits(place.tokenizer, [words], [logits])[0]
    cut = [i for i, own in enumerate(found) if own is None]
    assert 0 < len(cut) < 100
    left = place.tokenizer.truncation_side == "left"
    assert cut == [*range(len(cut))] if left else cut == [*range(100 - len(cut), 100)]


def test_the_tags_that_conversion_scores_are_those_that_evaluation_finds(place):
    texts = (("Anna", "lives", "in", "Berlin"), ("a", "film", "near", "Zoë", "\u200b", "Paris"))
    tags = tuple(tuple(range(len(words))) for words in texts)
    data = LabelledTexts(("",) * 2, None, tags, NAMES, "tags", texts)
    encoded = encode(place.tokenizer, data, 64)
    logits = predict(place.tagger.model, encoded)
    scored = [
        {int(tag): row.tolist() for tag, row in zip(*both, strict=True) if tag != IGNORED}
        for both in zip(encoded.labels, logits, strict=True)
    ]
    place.tagger([" ".join(words) for words in texts], fhe="disable", batch_size=2)
    reports = [report.logits for report in place.tagger.reports]
    found = [
        {word: row for word, row in enumerate(rows) if row is not None}
        for rows in word_logits(place.tokenizer, texts, reports)
    ]
    for own, other in zip(found, scored, strict=True):
        assert set(own) == set(other)
        for word, row in own.items():
            assert row == pytest.approx(other[word], rel=1e-4, abs=1e-4)


def test_conversion_scores_the_row_that_the_classifier_reads(place):
    """Also without [CLS], where that is the first token of the text."""
    texts = ("Anna lives in Berlin", "near Paris", "a funny film")
    data = LabelledTexts(texts, None, (0, 1, 2), NAMES)
    scored = predict(place.classifier.model, encode(place.tokenizer, data, 64))
    place.classifier(list(texts), fhe="simulate", batch_size=3)
    for row, report in zip(scored.tolist(), place.classifier.reports, strict=True):
        assert report.logits == pytest.approx(row, rel=0.01, abs=0.02)
