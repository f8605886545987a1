"""Several threads and one pipeline: each has its own answers and reports."""

import asyncio
import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from transformers import pipeline

TEXTS = [f"film number {i} is {'good ' * i}" for i in range(8)]


@pytest.fixture(scope="module")
def expected(classifier):
    return {text: classifier(text, fhe="disable")[0]["score"] for text in TEXTS}


def fresh(classifier, **options):
    return pipeline(
        "thex-text-classification",
        model=classifier.model,
        tokenizer=classifier.tokenizer,
        **options,
    )


def test_threads_keep_their_answers_and_reports(classifier, expected):
    pipe, together = fresh(classifier, fhe="simulate"), Barrier(len(TEXTS))

    def work(number):
        text = TEXTS[number]
        together.wait()  # sessions, plans and keys are made while all wait for them
        own = TEXTS[: number + 1]
        several = pipe(own, batch_size=3, truncation=bool(number % 2))
        first = [report.tokens for report in pipe.reports]
        (single,) = pipe(text, truncation=not number % 2)
        return [row["score"] for row in several], first, single["score"], pipe.reports

    with ThreadPoolExecutor(len(TEXTS)) as pool:
        found = list(pool.map(work, range(len(TEXTS))))
    lengths = [len(classifier.tokenizer(text)["input_ids"]) for text in TEXTS]
    for number, (scores, tokens, score, reports) in enumerate(found):
        wanted = [expected[text] for text in TEXTS[: number + 1]]
        assert scores == pytest.approx(wanted, abs=1e-3)
        assert tokens == lengths[: number + 1]
        assert score == pytest.approx(wanted[-1], abs=1e-3)
        assert [report.tokens for report in reports] == [lengths[number]]
    assert pipe.reports == []
    assert pipe.report is None


def test_a_thread_of_asyncio_keeps_its_reports(classifier):
    def work(text):
        classifier(text, fhe="simulate")
        return len(classifier.reports), classifier.report.tokens

    async def main():
        return await asyncio.gather(*(asyncio.to_thread(work, text) for text in TEXTS))

    classifier("mine", fhe="disable")
    found = asyncio.run(main())
    assert found == [(1, len(classifier.tokenizer(text)["input_ids"])) for text in TEXTS]
    assert classifier.report.fhe == "disable"


def test_a_streams_reports_go_to_the_thread_that_asked_for_it(classifier):
    answers = classifier(iter(TEXTS[:3]), fhe="disable")
    assert classifier.reports == []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(classifier, "another text", fhe="disable").result()
    rows = [(len(classifier.reports), answer["label"]) for answer in answers]
    assert [count for count, _ in rows] == [1, 2, 3]
    assert answers.reports is classifier.reports


@pytest.mark.slow
def test_execution_in_threads_makes_keys_once(classifier, expected, tmp_path):
    pipe = fresh(classifier, keys=tmp_path / "keys")

    def work(text):
        return pipe(text)[0]["score"], pipe.report.seconds.keygen

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, TEXTS[:2]))
    assert [score for score, _ in found] == pytest.approx(
        [expected[text] for text in TEXTS[:2]], abs=1e-3
    )
    assert sum(seconds > 0 for _, seconds in found) == 1
    assert len(list((tmp_path / "keys").iterdir())) == 2


def test_who_learns_what_is_said_once(classifier, monkeypatch):
    pipe, said = fresh(classifier, fhe="simulate"), []
    monkeypatch.setattr("thex_hf.pipelines.encrypted.logger.warning", said.append)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(pipe, TEXTS[:4]))
    assert said == [pipe.runner.learns]


def test_a_copy_has_locks_and_reports_of_its_own(classifier):
    pipe = fresh(classifier, fhe="disable")
    pipe(TEXTS[0])
    other = copy.deepcopy(pipe)
    assert other.reports == []
    assert other(TEXTS[0]) == pipe(TEXTS[0])


def test_another_softmax_leaves_the_model_of_other_pipelines_alone(classifier):
    before = classifier(TEXTS[3], fhe="disable")[0]["score"]
    exact = fresh(classifier, softmax="exact")
    assert exact.model.config.softmax == "exact"
    assert exact(TEXTS[3], fhe="disable")[0]["score"] != before
    assert classifier(TEXTS[3], fhe="disable")[0]["score"] == before
