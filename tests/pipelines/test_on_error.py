"""Texts that cannot be served: named, or skipped, and no answer of another text is lost."""

import pytest
from served import load, running, spec_of
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from thex_hf.errors import InputError, KeyMismatch, OptionError, TextError

TASK = "thex-text-classification"
GOOD, BAD, LONG = "a charming film", "a dull mess", "word " * 200
MIXED = [GOOD, "", BAD, None, LONG, GOOD]
LABELS = ["POSITIVE", None, "NEGATIVE", None, None, "POSITIVE"]


class OutOfRange(TextError):
    """What a check of results raises."""


@pytest.fixture
def doubtful(classifier, monkeypatch):
    """A classifier that believes no negative result."""
    finish = type(classifier.runner)._report

    def check(self, row, outcome, fhe):
        report = finish(self, row, outcome, fhe)
        if report.logits[0] > report.logits[1]:
            raise OutOfRange("the result is out of range")
        return report

    monkeypatch.setattr(type(classifier.runner), "_report", check)
    return classifier


def labels(rows):
    return [row and row["label"] for row in rows]


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_skipped_texts_leave_a_gap(classifier, batch_size):
    rows = classifier(MIXED, fhe="simulate", on_error="skip", batch_size=batch_size)
    assert labels(rows) == LABELS
    reports = classifier.reports
    assert [report.error is None for report in reports] == [bool(label) for label in LABELS]
    assert reports[1].logits == []
    assert "empty" in reports[1].error
    assert "202 tokens" in reports[4].error
    assert reports[1].to_json()["error"] == reports[1].error
    assert "error" not in reports[0].to_json()


def test_a_warning_says_how_many_and_why(classifier, monkeypatch):
    said = []
    monkeypatch.setattr(
        "thex_hf.pipelines.call.logger.warning", lambda line, *args: said.append(line % args)
    )
    classifier(MIXED, fhe="disable", on_error="skip")
    assert len(said) == 1
    assert said[0].startswith("skipped 3 of 6 texts")
    assert "text 2: the text is empty" in said[0]


def test_a_list_is_checked_before_anything_is_computed(classifier, monkeypatch):
    def never(*_args, **_options):
        raise AssertionError("computed")

    monkeypatch.setattr(classifier.runner, "run", never)
    with pytest.raises(InputError, match=r"^text 5: the text has 202 tokens") as caught:
        classifier([GOOD, BAD, GOOD, BAD, LONG], fhe="simulate")
    assert caught.value.row == 5
    with pytest.raises(InputError, match=r"^the text is empty") as caught:
        classifier("", fhe="simulate")
    assert caught.value.row is None


def test_check_finds_all_of_them(classifier):
    found = classifier.check(MIXED, fhe="simulate")
    assert sorted(found) == [2, 4, 5]
    assert classifier.check(MIXED, truncation=True).keys() == {2, 4}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stream_gives_all_answers_before_the_error(classifier, batch_size):
    got = []
    rows = classifier(iter([GOOD, BAD, "", GOOD]), fhe="disable", batch_size=batch_size)
    with pytest.raises(InputError, match="text 3: the text is empty") as caught:
        got.extend(rows)
    assert caught.value.row == 3
    assert labels(got) == ["POSITIVE", "NEGATIVE"]
    rows = classifier(iter(MIXED), fhe="disable", batch_size=batch_size, on_error="skip")
    assert labels(rows) == LABELS


def test_data_sets_have_gaps_too(classifier):
    data = KeyDataset([{"text": text} for text in MIXED], "text")
    answers = classifier(data, fhe="disable", batch_size=4, on_error="skip")
    assert len(answers) == 6
    assert labels(answers) == labels(answers) == LABELS  # may be read again
    assert len(answers.reports) == 6


@pytest.mark.parametrize("fhe", ["simulate", pytest.param("execute", marks=pytest.mark.slow)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_error_on_the_way_costs_no_other_answer(doubtful, fhe, batch_size):
    texts, options = [GOOD, BAD, GOOD], {"fhe": fhe, "batch_size": batch_size}
    assert labels(doubtful(texts, on_error="skip", **options)) == ["POSITIVE", None, "POSITIVE"]
    assert doubtful.reports[1].error == "the result is out of range"
    with pytest.raises(OutOfRange, match="text 2: the result is out of range") as caught:
        doubtful(texts, **options)
    assert caught.value.row == 2
    finished = [bool(report.logits) for report in doubtful.reports]
    assert finished == [True, False, True][: 3 if batch_size == 3 else 2]
    got = []
    with pytest.raises(OutOfRange):
        got.extend(doubtful(iter(texts), **options))
    assert labels(got) == ["POSITIVE"]


def test_texts_that_share_a_request(doubtful):
    pipe = pipeline(TASK, protocol="refresh", fhe="simulate", on_error="skip")
    pipe.runner.session("simulate").client.packing = "batch"  # so few would go one by one
    rows = pipe([GOOD, "", BAD, LONG, GOOD], batch_size=5)
    assert labels(rows) == ["POSITIVE", None, None, None, "POSITIVE"]
    assert [report.batch for report in pipe.reports] == [3, 1, 1, 1, 3]
    assert pipe.reports[2].error == "the result is out of range"
    with pytest.raises(OutOfRange, match="text 2: ") as caught:
        pipe([GOOD, BAD, GOOD], batch_size=3, on_error="raise")
    assert caught.value.row == 2
    assert [bool(report.logits) for report in pipe.reports] == [True, False, True]


def test_what_a_server_elsewhere_does_not_take(tmp_path):
    model = load("the-x")
    with running(spec_of(model, tmp_path, backend="seal")) as service:
        tokenizer = pipeline(TASK).tokenizer
        pipe = pipeline(TASK, model=model, tokenizer=tokenizer, backend="remote", url=service.url)
        texts = [GOOD, "word " * 40, ""]
        with pytest.raises(InputError, match="text 2: the text has 42 tokens, the server takes 16"):
            pipe(texts)
        assert pipe.reports == []
        rows = pipe(texts, on_error="skip", batch_size=3)
        assert labels(rows) == ["POSITIVE", None, None]


def test_other_errors_end_the_call(classifier, monkeypatch):
    def broken(*_args, **_options):
        raise KeyMismatch("these are other keys")

    monkeypatch.setattr(classifier.runner, "run", broken)
    with pytest.raises(KeyMismatch):
        classifier([GOOD], fhe="simulate", on_error="skip")


def test_the_option_is_checked(classifier):
    with pytest.raises(OptionError, match="did you mean 'skip'"):
        classifier(GOOD, on_error="skp")
    pipe = pipeline(
        TASK, model=classifier.model, tokenizer=classifier.tokenizer, on_error="skip", fhe="disable"
    )
    assert pipe("") == [None]
    assert labels(pipe([GOOD, ""])) == ["POSITIVE", None]
    with pytest.raises(InputError):
        pipe([GOOD, ""], on_error="raise")
