"""Which token stands for a word, and how places move when words are joined in another way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_zoo import tokenizer_of

from thex_hf.errors import InputError
from thex_hf.evaluation.reading import tags_of, word_logits
from thex_hf.tokens.texts import first_tokens, join_words, moved, tags_of_tokens

LISTS = st.lists(st.text("ab ", max_size=4), min_size=1, max_size=6)


@given(words=LISTS, by=st.sampled_from([" ", "", "--", "\n"]))
def test_words_stand_where_they_are_said_to(words, by):
    text, places = join_words(words, by)
    assert [text[slice(*place)] for place in places] == words
    assert text == by.join(words)


def test_the_first_token_that_shares_a_character():
    places = [(0, 3), (4, 8), (9, 10), (11, 14)]
    #         <s>     abc     " de"   "fg"    blank   "xyz and w"
    spans = [(0, 0), (0, 3), (3, 6), (6, 8), (8, 9), (11, 20)]
    assert first_tokens(spans, places) == [1, 2, None, 5]
    assert first_tokens([], places) == [None] * 4
    assert first_tokens([(0, 14)], places) == [0] * 4  # one token for all


def test_a_token_of_several_words_has_the_first_ones_tag():
    assert tags_of_tokens([1, 1, None, 2], [7, 8, 9, 5], 4, -100) == [-100, 7, 5, -100]


@given(words=LISTS.filter(lambda words: all(words)), by=st.sampled_from(["", "--", "_"]))
def test_places_of_words_move_with_them(words, by):
    _, old = join_words(words)
    text, new = join_words(words, by)
    for first, word in enumerate(words):
        assert text[slice(*moved(old[first], old, new))] == word
        for last in range(first, len(words)):
            place = moved((old[first][0], old[last][1]), old, new)
            assert text[slice(*place)] == by.join(words[first : last + 1])
    for before, word in enumerate(words[1:]):  # a token that holds the blank before a word too
        place = moved((old[before][1], old[before + 1][1]), old, new)
        assert text[slice(*place)] == word


@pytest.mark.parametrize("join_by", [" ", "", " - ", "\t"])
@pytest.mark.parametrize("name", ["byte level", "unigram", "wordpiece"])
def test_whatever_joins_the_words(name, join_by):
    tokenizer = tokenizer_of(name)
    words = ["Anna", "New York", "Berlin", "é"]
    text = join_by.join(words)
    encoded = tokenizer(text, return_offsets_mapping=True)
    rows = [[float(number)] for number in range(len(encoded["input_ids"]))]
    found = word_logits(tokenizer, [words], [rows], join_by)[0]
    begin = 0
    for word, logits in zip(words, found, strict=True):
        spans = encoded["offset_mapping"]
        hits = [i for i, (a, b) in enumerate(spans) if a < begin + len(word) and b > begin]
        assert logits == rows[min(hit for hit in hits if spans[hit][0] < spans[hit][1])]
        begin += len(word) + len(join_by)


def test_words_that_vanish_are_outside_and_shift_nothing():
    tokenizer = tokenizer_of("plain")
    words = ["\u200b", "Anna", "\0\u200b", "Berlin"]
    count = len(tokenizer(" ".join(words))["input_ids"])
    found = word_logits(tokenizer, [words], [[[0.0, float(i)] for i in range(count)]])[0]
    assert [own is None for own in found] == [True, False, True, False]
    assert tags_of([found], ["O", "B-X"]) == [["O", "B-X", "O", "B-X"]]


def test_logits_of_other_texts_are_refused():
    with pytest.raises(InputError, match="text 2 has 3 tokens and logits for 5"):
        word_logits(tokenizer_of("wordpiece"), [["Anna"], ["in"]], [[[0.0]] * 3, [[0.0]] * 5])
