"""Windows of long texts: what transformers cuts, every token in one, words of tokens whole."""

from itertools import pairwise

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_zoo import ZOO, tokenizer_of

from thex_hf.errors import InputError, OptionError
from thex_hf.tokens.tokenise import tokenise
from thex_hf.tokens.window_words import merged, word_spans
from thex_hf.tokens.windows import WindowOptions, cut

WORDS = st.sampled_from(["Anna", "lives", "in", "Berlin,", "naïvely", "café", "漢字", "🙂", "a-b"])
TEXTS = st.lists(WORDS, min_size=1, max_size=40).map(" ".join)
SIZES = st.tuples(st.integers(6, 20), st.integers(0, 19))


def read(name, text, pair=None):
    return tokenise(tokenizer_of(name), text, pair, limit=10**6)


def windows_of(tokens, window, stride):
    return cut(tokens, WindowOptions(window, stride)).windows


@pytest.mark.parametrize("name", [name for name in ZOO if name != "cut on the left"])
@settings(max_examples=examples(60))
@given(text=TEXTS, sizes=SIZES)
def test_windows_are_those_of_transformers(name, text, sizes):
    window, stride = sizes[0], sizes[1] % (sizes[0] - 3)
    found = windows_of(read(name, text), window, stride)
    want = tokenizer_of(name)(
        text, truncation=True, max_length=window, stride=stride, return_overflowing_tokens=True
    )
    assert [list(one.tokens.ids) for one in found] == want["input_ids"]


@settings(max_examples=examples(60))
@given(text=TEXTS, pair=TEXTS)
def test_of_a_pair_the_longer_text_is_cut(text, pair):
    tokens = read("wordpiece", text, pair)
    lengths = [tokens.texts.count(0), tokens.texts.count(1)]
    window, stride = min(lengths) + 3 + 5, 2
    found = windows_of(tokens, window, stride)
    want = tokenizer_of("wordpiece")(
        text, pair, max_length=window, stride=stride, return_overflowing_tokens=True,
        truncation="only_first" if lengths[0] >= lengths[1] else "only_second",
    )  # fmt: skip
    assert [list(one.tokens.ids) for one in found] == want["input_ids"]
    assert [list(one.tokens.segments) for one in found] == want["token_type_ids"]


@pytest.mark.parametrize("name", ZOO)
@settings(max_examples=examples(60))
@given(text=TEXTS, sizes=SIZES)
def test_every_token_is_in_a_window_and_neighbours_share_the_stride(name, text, sizes):
    window, stride = sizes[0], sizes[1] % (sizes[0] - 3)
    tokens = read(name, text)
    found = windows_of(tokens, window, stride)
    spans = [one.span for one in found]
    own = [place for place, added in enumerate(tokens.special) if not added]
    assert sorted({at for span in spans for at in range(*span)}) == own
    for one, other in pairwise(spans):
        assert one[1] - other[0] == stride
        assert other[1] > one[1]
    for one in found:
        assert len(one.tokens) <= window
        assert [i for i, s in zip(one.tokens.ids, one.tokens.special, strict=True) if not s] == [
            tokens.ids[at] for at in range(*one.span)
        ]
        assert {len(x) for x in (one.tokens.segments, one.tokens.spans, one.tokens.texts)} == {
            len(one.tokens)
        }
    if len(tokens) <= window:
        assert found[0].tokens == tokens


def test_a_pair_whose_shorter_text_fills_the_window_is_refused():
    tokens = read("wordpiece", "anna lives in berlin", "paris paris paris")
    with pytest.raises(InputError, match=r"window of 6 tokens has room for 0 .* shorter text"):
        cut(tokens, WindowOptions(6))


def test_the_mean_counts_tokens_and_the_largest_is_of_each_label():
    found = cut(read("wordpiece", "berlin " * 7), WindowOptions(7))  # five tokens, then two
    assert [one.span[1] - one.span[0] for one in found.windows] == [5, 2]
    logits = [np.array([1.0, -3.0]), np.array([8.0, -10.0])]
    np.testing.assert_allclose(found.pooled(logits), [3.0, -5.0])
    largest = cut(read("wordpiece", "berlin " * 7), WindowOptions(7, pool="max"))
    np.testing.assert_array_equal(largest.pooled(logits), [8.0, -3.0])
    whole = cut(read("wordpiece", "berlin"), WindowOptions(7))
    np.testing.assert_array_equal(whole.pooled([np.array([0.1, 0.2])]), [0.1, 0.2])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ((0,), "window must be a whole number, 1 or more, got 0"),
        ((True,), "window must be a whole number"),
        ((8.0,), "window must be"),
        ((8, -1), "stride must be a whole number, 0 or more, got -1"),
        ((8, 0, "avg"), "pool must be one of mean, max"),
        ((None, 4), "stride goes with window"),
        ((None, None, "max"), "pool goes with window"),
    ],
)
def test_options_that_mean_nothing(given, reason):
    with pytest.raises(OptionError, match=reason):
        WindowOptions.of(*given)
    assert WindowOptions.of(None) is None


@pytest.mark.parametrize(
    ("given", "number", "reason"),
    [
        ((129,), False, "window can be 128 at most"),
        ((2,), False, "window must be 3 or more"),
        ((8, 6), False, "stride must be less than 6"),
        ((8, 5, "max"), True, "answers a number: use pool='mean'"),
    ],
)
def test_options_that_fit_no_text(given, number, reason):
    with pytest.raises(OptionError, match=reason):
        WindowOptions(*given).check(128, 2, number=number)
    WindowOptions(8, 5).check(128, 2, number=True)


def test_words_are_what_blanks_divide():
    for name in ("wordpiece", "byte level", "unigram", "plain"):
        text = "Anna unbelievably, lives in 漢字"
        tokens = read(name, text)
        own = [place for place, added in enumerate(tokens.special) if not added]
        found = list(word_spans(tokens.spans, (own[0], own[-1] + 1), text))
        words = [text[tokens.spans[a][0] : tokens.spans[b - 1][1]].strip() for a, b in found]
        assert words == text.split()


def test_a_word_comes_from_where_it_is_whole_and_has_most_context():
    # tokens 1 to 9 are the text's; each window's logits say its number and the token's place
    windows = [(1, 6), (4, 9), (7, 10)]
    logits = [
        np.array([[number, at] for at in (0, *range(*span), 10)], float)
        for number, span in enumerate(windows)
    ]
    words = [(1, 3), (3, 5), (5, 7), (7, 8), (8, 9), (9, 10)]
    out = merged(logits, windows, words, 11)
    assert out[:, 1].tolist() == list(range(11))
    assert out[:, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    # one that is whole nowhere: each token by itself
    np.testing.assert_array_equal(merged(logits, windows, [(1, 10)], 11), out)
