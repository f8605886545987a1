"""Servers that may not keep all their encoded weights: same answers, within the bound."""

import logging
import math
import os
import tracemalloc

import numpy as np
import pytest
from reference import random_polynomial_weights, random_weights
from served import load, running, spec_of

import thex_hf
from thex_hf._machine import free_memory
from thex_hf.backends.registry import get_backend
from thex_hf.backends.seal.server import SealServer
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.client.client import ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.client.http import HttpTransport
from thex_hf.errors import OptionError
from thex_hf.local.session import LocalSession
from thex_hf.options import RunOptions
from thex_hf.serving.server import ThexServer
from thex_hf.serving.spec import Spec

KEYS = ("value", "layer_out", "scores", "ffn_pre", "stream_in", "attention_out")
SIZES = {"layers": 1, "hidden": 16, "intermediate": 24}
MADE = {"refresh": random_polynomial_weights, "client-aided": random_weights}
TEXT = np.random.default_rng(3).normal(size=(11, 16))


def session(protocol, most, engine="seal", processes=1):
    return LocalSession(
        MADE[protocol](**SIZES),
        get_backend(engine),
        PlanOptions(protocol),
        ranges=[dict.fromkeys(KEYS, 8.0)],
        processes=processes,
        plaintext_bytes=most,
    )


def cache_of(run):
    return run.server._model.store(run.plan(len(TEXT)))


@pytest.mark.parametrize("protocol", ["refresh", "client-aided"])
def test_answers_on_ciphertexts_do_not_depend_on_the_bound(protocol, caplog):
    whole = session(protocol, math.inf)
    expected = whole.run(TEXT)
    total, count = cache_of(whole).held_bytes, cache_of(whole).kept
    assert total > 0
    assert not caplog.records
    for most in (0, total // 2):
        caplog.clear()
        bounded = session(protocol, most)
        for _ in range(2):
            result = bounded.run(TEXT)
            np.testing.assert_allclose(result.logits, expected.logits, atol=1e-2)
            assert result.plan.id == expected.plan.id
            cache = cache_of(bounded)
            assert cache.held_bytes <= most
            held = [p for p in cache._plains.values() if p is not None]
            assert sum(p.nbytes for p in held) == cache.held_bytes
            assert cache.kept < count
        said = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert len(said) == 1  # once, not for each text
        assert "encoded anew for every text" in said[0].getMessage()
        assert "weights_memory" in said[0].getMessage()


def test_preparing_encodes_only_what_fits(monkeypatch):
    run = session("refresh", 0)
    plan, seen, ticks = run.plan(11), [], []
    encode = SealServer.encode

    def counted(engine, *args, **options):
        seen.append(1)
        return encode(engine, *args, **options)

    monkeypatch.setattr(SealServer, "encode", counted)
    run.server.prepare(lambda: ticks.append(1), plan.id)
    total = sum(n for (verb, _), n in plan.operations.items() if verb == "encode")
    assert len(ticks) == total  # a progress bar comes to its end
    assert len(seen) < 10 < total


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_texts_and_pieces_in_children_get_the_same_answers():
    expected = session("refresh", math.inf, "clear").run(TEXT).logits
    bounded = session("refresh", 100_000, "clear", processes=2)
    for outcome in [bounded.run(TEXT), *bounded.run_many([TEXT, TEXT[:5], TEXT])[::2]]:
        np.testing.assert_allclose(outcome.logits, expected, atol=1e-2)
    assert 0 < cache_of(bounded).bound.held <= 100_000


def test_several_tiles_ask_for_each_weight_once_a_text():
    """Biases and factors, which are few, are asked for once for each tile."""
    text = np.random.default_rng(4).normal(size=(120, 16))
    bounded, whole = (session("client-aided", most, "clear") for most in (0, math.inf))
    whole.run(text)
    bounded.run(text)
    cache = bounded.server._model.store(bounded.plan(120))
    before = cache.dropped
    bounded.run(text)
    kept = whole.server._model.store(whole.plan(120)).kept
    assert kept <= cache.dropped - before <= 1.2 * kept + 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_workers_that_share_a_bound_answer_over_http(tmp_path):
    half = ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))
    with running(spec_of(load(), tmp_path / "keys", plaintext_bytes=1e6)) as service:
        client = ThexClient(half, HttpTransport(service.url), backend="clear")
        assert [client.classify(text).label for text in ("A warm film.", "Fine.")] == [
            "POSITIVE"
        ] * 2


def test_by_default_half_of_what_is_free():
    run = session("refresh", None, "clear")
    assert 0.2 * free_memory() < run.server._model.bound.most < 0.8 * free_memory()


def test_control_groups_count(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    machine = free_memory(tmp_path)
    write("proc/self/cgroup", "0::/a/b\n")
    write("sys/fs/cgroup/a/b/memory.max", "max\n")
    write("sys/fs/cgroup/a/memory.max", "5000\n")
    write("sys/fs/cgroup/a/memory.current", "3000\n")
    write("sys/fs/cgroup/a/memory.stat", "anon 2000\ninactive_file 400\n")
    assert free_memory(tmp_path) == 2400 < machine
    write("proc/self/cgroup", "4:memory:/c\n2:cpu:/\n")
    write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "1000\n")
    write("sys/fs/cgroup/memory/c/memory.usage_in_bytes", "1200\n")
    write("sys/fs/cgroup/memory/c/memory.stat", "total_inactive_file 100\n")
    assert free_memory(tmp_path) == 0


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, True, "4", [2]])
def test_what_is_no_amount_of_memory_is_refused(value):
    with pytest.raises(OptionError, match="weights_memory must be a number of gigabytes"):
        RunOptions(weights_memory=value).resolved("the-x")


@pytest.mark.parametrize(
    ("options", "form", "match"),
    [
        ({"protocol": "prepared"}, "polynomial", "prepared encodes no weights"),
        ({"backend": "concrete"}, "the-x", "encodes no weights"),
        ({"backend": "remote", "url": "https://x"}, "the-x", "the server's choice"),
    ],
)
def test_a_bound_where_there_is_nothing_to_bound_is_refused(options, form, match):
    with pytest.raises(OptionError, match=match):
        RunOptions(weights_memory=1, **options).resolved(form)


def test_gigabytes_become_bytes():
    assert RunOptions(weights_memory=1.5).resolved("the-x").plaintext_bytes == 1.5e9
    assert RunOptions(weights_memory=0).resolved("the-x").plaintext_bytes == 0
    assert RunOptions().resolved("the-x").plaintext_bytes is None
    with pytest.raises(OptionError, match="less than nothing"):
        Spec(b"", "keys", plaintext_bytes=-1)
    spec = Spec(b"", "keys", plaintext_bytes=5.0)
    assert Spec.from_message(spec.to_message()) == spec


def test_a_server_of_tickets_keeps_its_weights_once_more_in_two_bytes_each():
    weights = random_polynomial_weights(layers=2, hidden=128, heads=2, intermediate=512)
    matrices = sum(
        matrix.nbytes
        for layer in weights.layers
        for matrix in vars(layer).values()
        if isinstance(matrix, np.ndarray)
    )
    tracemalloc.start()
    server = ThexServer(
        weights, get_backend("seal"), options=PlanOptions("prepared"), buckets=(32,)
    )
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(server.plans)
    # folding joins norms and maps to a half more of them
    assert held < 1.6 * matrices * 2 / 8 + 1_000_000
