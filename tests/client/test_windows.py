"""Long texts by windows, where the client has its half of the model and the server the other."""

from types import SimpleNamespace

import numpy as np
import pytest
from served import Near, load
from tiny_pipelines import make
from transformers import pipeline

import thex_hf
from thex_hf.backends.registry import get_backend
from thex_hf.cli.elsewhere import classify_with_half
from thex_hf.cli.texts import Text
from thex_hf.client.client import ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.errors import InputError, OptionError, TextError
from thex_hf.serving.server import ThexServer
from thex_hf.tokens.windows import WindowOptions

LONG = "a warm funny film with a dull plot and great actors but far too long for most"
WINDOWS = WindowOptions(10, 2)


def serve(model, backend="clear"):
    weights = model.encoder_weights()
    return ThexServer(weights, get_backend(backend), model.config.ranges, buckets=(16,))


@pytest.fixture(scope="module")
def server():
    return serve(load())


def client_of(server, windows, folder=None):
    half = ClientHalf.open(folder or thex_hf.bundled_checkpoint("the-x"))
    return ThexClient(half, Near(server), backend="clear", windows=windows)


@pytest.fixture(scope="module")
def pipe():
    return pipeline(
        "thex-text-classification", model=thex_hf.bundled_checkpoint("the-x"), fhe="simulate"
    )


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_the_answer_is_the_pipelines(server, pipe, pool):
    client = client_of(server, WindowOptions(10, 2, pool))
    client.check(LONG)
    one = client.classify(LONG)
    many = client.classify_many([LONG, "a dull mess"])
    (want,) = pipe(LONG, window=10, stride=2, pool=pool)
    for answer in (one, many[0]):
        np.testing.assert_allclose(answer.logits, pipe.report.logits, atol=1e-3)
        assert answer.label == want["label"]
        assert answer.score == pytest.approx(want["score"], abs=1e-3)
        assert answer.tokens == pipe.report.tokens == 19
        told = answer.to_json()
        assert [(row["tokens"], row["bucket"]) for row in told["windows"]] == [
            (row.tokens, row.bucket) for row in pipe.report.windows
        ]
        assert told["rounds"] == pipe.report.rounds == 18
        assert told["bytes"]["up"] == sum(x.result.bytes_up for x in answer.windows)
    assert len(many[1].windows) == 1


class Counting(Near):
    """Counts the messages of each run, and their sizes."""

    def __init__(self, server):
        super().__init__(server)
        self.runs = {}

    def answer(self, data, keys, run):
        self.runs.setdefault(run, []).append(len(data))
        return super().answer(data, keys, run)


def test_each_window_is_a_request_like_that_of_a_short_text(server):
    half, transport = ClientHalf.open(thex_hf.bundled_checkpoint("the-x")), Counting(server)
    client = ThexClient(half, transport, backend="clear", windows=WINDOWS)
    client.classify("a dull mess")
    client.classify(LONG)
    short, *windows = transport.runs.values()
    assert windows == 3 * [short]


def test_without_windows_nothing_changes(server):
    client = client_of(server, None)
    assert client.classify("a dull mess").windows is None
    assert "windows" not in client.classify("a dull mess").to_json()
    with pytest.raises(InputError, match="19 tokens, the server takes 16"):
        client.check(LONG)
    with pytest.raises(InputError, match="128 are the most; shorten it, or classify it in windows"):
        client.check(LONG * 10)


def test_windows_that_the_server_does_not_take(server):
    with pytest.raises(OptionError, match="window can be 16 at most"):
        client_of(server, WindowOptions(17))
    with pytest.raises(OptionError, match="stride must be less than 8"):
        client_of(server, WindowOptions(10, 8))


def test_a_window_without_an_answer_is_named(server, monkeypatch):
    client = client_of(server, WINDOWS)
    run = client.client.run

    def refuse(embeddings):
        if len(embeddings) < 10:
            raise TextError("no")
        return run(embeddings)

    monkeypatch.setattr(client.client, "run", refuse)
    with pytest.raises(TextError, match=r"^window 3 of 3: no$"):
        client.classify(LONG)


def test_tokens_are_classified_as_by_the_pipeline(tmp_path):
    tagger = make("token")
    tagger.save_pretrained(tmp_path)
    client = client_of(serve(tagger.model), WINDOWS, tmp_path)
    answer = client.classify(LONG)
    tagger(LONG, fhe="disable", window=10, stride=2)
    assert answer.logits.shape == (19, 2)
    np.testing.assert_allclose(answer.logits, tagger.report.logits, atol=1e-2)


def test_the_command_with_a_half(tmp_path):
    whole = make()
    whole.save_pretrained(tmp_path / "whole")
    half = ClientHalf.open(tmp_path / "whole").save(tmp_path / "half")
    near = SimpleNamespace(transport=lambda: Near(serve(whole.model, "seal")))
    options = {"keys": None, "protocol": None, "refused": {}}
    (record,) = classify_with_half(
        str(half), near, [Text(LONG)], skip=False, windows={"window": 16}, **options
    )
    assert [window["tokens"] for window in record["windows"]] == [16, 5]
    rows = [*classify_with_half(str(half), near, [Text(LONG)], skip=True, windows={}, **options)]
    assert "19 tokens" in str(rows[0])
