"""``window=``: long texts by overlapping windows, each as if it were classified alone."""

import numpy as np
import pytest
from tiny_pipelines import KINDS, make
from transformers import pipeline

import thex_hf
from thex_hf.errors import InputError, OptionError, TextError
from thex_hf.pipelines.report import Bytes, Report, Seconds, joined

TASK = "thex-text-classification"
LONG = "a warm funny film with a dull plot and great actors but far too long for most"
WORDS = LONG.split()
WINDOW, STRIDE = 8, 2  # six words, two of which are those before
PARTS = [(0, 6), (4, 10), (8, 14), (12, 17)]
WEIGHTS = [end - begin for begin, end in PARTS]
TEXTS = [" ".join(WORDS[slice(*part)]) for part in PARTS]


@pytest.fixture(scope="module")
def pipes():
    return {task: make(task) for task in KINDS}


def alone(pipe, fhe):
    """The logits of each window's text, classified by itself."""
    pipe(TEXTS, fhe=fhe)
    return np.array([report.logits for report in pipe.reports])


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("fhe", ["disable", "simulate"])
def test_logits_are_those_of_the_windows_alone(pipes, fhe, batch_size):
    pipe, close = pipes["text"], 1e-5 if fhe == "disable" else 1e-2
    own = alone(pipe, fhe)
    options = {"fhe": fhe, "window": WINDOW, "stride": STRIDE, "batch_size": batch_size}
    for pool, want in (("mean", np.average(own, 0, weights=WEIGHTS)), ("max", own.max(0))):
        (answer, short) = pipe([LONG, TEXTS[1]], pool=pool, **options)
        report, other = pipe.reports
        np.testing.assert_allclose(report.logits, want, atol=close)
        assert answer["label"] == pipe.model.config.id2label[int(np.argmax(report.logits))]
        shares = np.exp(report.logits) / np.exp(report.logits).sum()
        assert answer["score"] == pytest.approx(shares.max(), abs=1e-5)
        assert (report.tokens, report.bucket) == (len(WORDS) + 2, 16)
        assert [(one.tokens, one.bucket) for one in report.windows] == [
            (weight + 2, 16) for weight in WEIGHTS
        ]
        np.testing.assert_allclose([one.logits for one in report.windows], own, atol=close)
        np.testing.assert_allclose(other.logits, own[1], atol=close)
        assert (other.tokens, len(other.windows)) == (8, 1)
        assert set(short) == set(answer)


def test_the_report_adds_up_what_the_windows_cost(pipes):
    pipe = pipes["text"]
    pipe(TEXTS[0], fhe="simulate")
    one = pipe.report
    assert "windows" not in one.to_json()
    pipe(LONG, fhe="simulate", window=WINDOW, stride=STRIDE)
    report = pipe.report
    assert (report.rounds, report.key_switches) == (4 * one.rounds, 4 * one.key_switches)
    assert (report.levels, report.batch) == (one.levels, 1)
    assert [set(window) for window in report.to_json()["windows"]] == 4 * [
        {"tokens", "bucket", "logits", "key_bytes"}
    ]
    spent = [
        Report(
            [0.0], 9, bucket, "prepared", "seal", "execute", Seconds(1, 2, 3, 4), 5,
            Bytes(keys, 10, 20, 30, 40), tickets=left, wraps=wraps,
        )
        for bucket, keys, left, wraps in [(32, 7, 99, 0), (32, 7, 98, 1), (16, 6, 50, 0)]
    ]  # fmt: skip
    whole = joined(spent, [0.5], 20)
    assert whole.seconds == Seconds(3, 6, 9, 12)
    assert whole.bytes == Bytes(13, 30, 60, 90, 120)
    assert (whole.rounds, whole.bucket, whole.tickets, whole.wraps) == (15, 32, 98, 1)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_agreement_is_of_pooled_logits(pipes, pool):
    pipe = pipes["text"]
    options = {"window": WINDOW, "stride": STRIDE, "pool": pool}
    pipe(LONG, fhe="disable", **options)
    clear = np.array(pipe.report.logits)
    pipe(LONG, fhe="simulate", agreement=True, **options)
    found = pipe.report.agreement
    apart = np.abs(clear - pipe.report.logits).max()
    assert found.largest_logit_difference == pytest.approx(apart, abs=1e-5)
    assert found.label == pipe.model.config.id2label[int(clear.argmax())]
    assert found.same_label


def test_ciphertexts_of_the_bundled_model():
    pipe = pipeline(TASK, model=thex_hf.bundled_checkpoint("the-x"), window=12)
    (answer,) = pipe(LONG, stride=3, agreement=True)
    report = pipe.report
    assert (report.fhe, report.backend) == ("execute", "seal")
    assert [one.tokens for one in report.windows] == [12, 12]
    assert report.agreement.same_label
    assert report.agreement.largest_logit_difference < 1e-3
    assert answer["label"] == report.agreement.label
    assert report.rounds == 2 * 6
    assert report.bytes.keys == report.windows[0].key_bytes > 1e6


def test_options_of_the_constructor_and_of_a_call(pipes):
    text = pipes["text"]
    pipe = pipeline(
        TASK, model=text.model, tokenizer=text.tokenizer, fhe="disable", window=WINDOW, stride=5
    )
    pipe(LONG)
    assert len(pipe.report.windows) == 12
    pipe(LONG, stride=STRIDE)
    assert len(pipe.report.windows) == 4
    pipe(LONG, window=None)
    assert pipe.report.windows is None
    with pytest.raises(OptionError, match="stride goes with window"):
        pipe(LONG, window=None, stride=2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"window": 129}, "window can be 128 at most"),
        ({"window": "8"}, "window must be a whole number"),
        ({"window": 8, "stride": 6}, "stride must be less than 6"),
        ({"window": 8, "pool": "median"}, "pool must be one of"),
        ({"stride": 2}, "stride goes with window"),
        ({"window": 8, "truncation": True}, "give one of the two"),
        ({"window": 8, "max_length": 20}, "leave out max_length"),
    ],
)
def test_windows_that_are_refused(pipes, options, reason):
    text = pipes["text"]
    with pytest.raises(OptionError, match=reason):
        text(LONG, fhe="disable", **options)
    with pytest.raises(OptionError, match=reason):
        pipeline(TASK, model=text.model, tokenizer=text.tokenizer, **options)


def test_a_number_has_no_largest():
    pipe = make(num_labels=1, problem_type="regression")
    with pytest.raises(OptionError, match="use pool='mean'"):
        pipe(LONG, fhe="disable", window=WINDOW, pool="max")
    own = alone(pipe, "disable")
    answer = pipe(LONG, fhe="disable", window=WINDOW, stride=STRIDE)[0]
    want = np.average(own, 0, weights=WEIGHTS)[0]
    assert answer["score"] == pytest.approx(want, abs=1e-5)


def test_long_texts_are_refused_without_and_not_with(pipes):
    with pytest.raises(InputError, match=r"202 tokens, 128 are the most; .* window= to classify"):
        pipes["text"]("word " * 200, fhe="disable")
    pipes["text"]("word " * 2000, fhe="disable", window=128, batch_size=32)
    assert pipes["text"].report.tokens == 2002
    assert len(pipes["text"].report.windows) == 16


def test_of_a_pair_each_window_has_the_shorter_text(pipes):
    pair = {"text": LONG, "text_pair": "dull plot"}
    pipes["text"](pair, fhe="disable", window=12)
    assert [one.tokens for one in pipes["text"].report.windows] == [12, 12, 8]
    with pytest.raises(InputError, match="text 2: a window of 12 tokens has room for 0 of"):
        pipes["text"]([LONG, {"text": LONG, "text_pair": LONG}], fhe="disable", window=12)


class OutOfRange(TextError):
    """What a check of results raises."""


def test_a_window_that_fails_takes_its_text_with_it_and_no_other(pipes, monkeypatch):
    pipe = pipes["text"]
    clear = type(pipe.runner)._clear_report

    def check(self, row):
        if row["input_ids"].shape[1] == WEIGHTS[-1] + 2:
            raise OutOfRange("the result is out of range")
        return clear(self, row)

    monkeypatch.setattr(type(pipe.runner), "_clear_report", check)
    options = {"fhe": "disable", "window": WINDOW, "stride": STRIDE}
    rows = pipe([TEXTS[0], LONG, TEXTS[1]], on_error="skip", batch_size=2, **options)
    assert [row is None for row in rows] == [False, True, False]
    assert pipe.reports[1].error == "window 4 of 4: the result is out of range"
    with pytest.raises(OutOfRange, match=r"^text 2: window 4 of 4: the result") as caught:
        pipe([TEXTS[0], LONG, TEXTS[1]], **options)
    assert caught.value.row == 2
    with pytest.raises(OutOfRange, match=r"^window 4 of 4: ") as caught:
        pipe(LONG, **options)
    assert caught.value.row is None


def test_words_of_windows_are_put_together(pipes):
    pipe = pipes["token"]
    options = {"ignore_labels": [], "fhe": "disable"}
    whole = pipe(LONG, window=WINDOW, stride=STRIDE, **options)
    report = pipe.report
    assert [row["word"] for row in whole] == WORDS
    assert [(row["start"], row["end"]) for row in whole] == [
        (row["start"], row["end"]) for row in pipe(LONG, **options)
    ]
    parts = pipe(TEXTS, **options)
    # the first of two words that windows share comes from the one before, the second from the next
    want = [*parts[0][:5], *parts[1][1:5], *parts[2][1:5], *parts[3][1:]]
    assert [row["word"] for row in want] == WORDS
    scores = [row["score"] for row in want]
    assert [row["score"] for row in whole] == pytest.approx(scores, abs=1e-5)
    assert np.shape(report.logits) == (len(WORDS) + 2, pipe.model.config.num_labels)
    assert len(report.windows) == 4
    pipe(LONG, window=WINDOW, stride=STRIDE, fhe="simulate", agreement=True)
    assert pipe.report.agreement.largest_logit_difference < 1e-2
    assert pipe.report.agreement.same_tokens > 0.9
    np.testing.assert_allclose(pipe.report.logits, report.logits, atol=1e-2)


def test_words_in_a_list_are_found_again(pipes):
    options = {"is_split_into_words": True, "delimiter": "_", "ignore_labels": [], "fhe": "disable"}
    (found,) = pipes["token"]([WORDS], window=WINDOW, stride=STRIDE, **options)
    text = "_".join(WORDS)
    assert [text[row["start"] : row["end"]] for row in found] == WORDS


def test_what_a_classifier_of_tokens_refuses(pipes):
    with pytest.raises(OptionError, match="pool is for classifiers of texts"):
        pipes["token"](LONG, window=8, pool="max")
    with pytest.raises(OptionError, match="stride goes with window"):
        pipes["token"](LONG, stride=2)
