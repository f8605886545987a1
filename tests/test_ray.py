"""The service on Ray, scoring by Ray Data and preparing by tasks; where Ray is installed.

The cluster has two nodes on this machine, each with processes of its own.
"""

import importlib.util
import os
import time
from pathlib import Path

import numpy as np
import pytest
from reference import polynomial_logits
from served import running, spec_of

import thex_hf
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.client.exchange import Client
from thex_hf.client.http import HttpTransport

FOLDER = Path(__file__).parents[1] / "examples" / "ray"


def load(name):
    spec = importlib.util.spec_from_file_location(f"ray_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_workers():
    """Processes of actors, the oldest first."""
    import psutil

    found = [p for p in psutil.process_iter() if "ray::Encoder" in " ".join(p.cmdline())]
    return sorted(found, key=lambda process: process.create_time())


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve")
    from ray.cluster_utils import Cluster

    from thex_hf.endpoint.spec import spec_of as served_spec
    from thex_hf.modeling.opening import open_model
    from thex_hf.serving.http.settings import BearerTokens

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 3, "include_dashboard": False}
    )
    nodes.add_node(num_cpus=3)
    ray.init(address=nodes.address, log_to_driver=False)
    nodes.wait_for_nodes()
    module = load("service")
    keys = f"sqlite:///{tmp_path_factory.mktemp('keys')}/keys.db"
    spec = served_spec(open_model(thex_hf.bundled_checkpoint()), keys, buckets=(16,))
    serve.start(http_options={"host": "127.0.0.1", "port": 8765})
    serve.run(module.gate(spec, 2, BearerTokens()))
    yield "http://127.0.0.1:8765"
    serve.shutdown()
    ray.shutdown()
    nodes.shutdown()


def test_a_cluster_answers_and_replaces_a_worker(address):
    import ray

    from thex_hf.client.client import ThexClient
    from thex_hf.client.half import ClientHalf
    from thex_hf.client.http import open_transport

    half = ClientHalf.open(thex_hf.bundled_checkpoint())
    client = ThexClient(half, open_transport(address))
    first = client.classify("A warm, funny film.")
    assert first.label == "POSITIVE"
    workers = find_workers()
    assert len(workers) == 2
    assert len({worker.ppid() for worker in workers}) == 2  # the two nodes
    for worker in workers:
        worker.kill()
    time.sleep(1)
    client.client.tries = 6
    again = client.classify("A warm, funny film.")
    np.testing.assert_allclose(again.logits, first.logits, atol=0.02)
    assert ray.is_initialized()


def test_a_data_set_is_scored_by_several_clients(address):
    rows = [
        {"text": "A warm, funny film.", "label": 1},
        {"text": "Dull.", "label": 0},
        {"text": "Dreadful!", "label": 0},
        {"text": "A delight.", "label": 1},
    ]
    found = load("scoring").score(rows, address, clients=2).take_all()
    assert len(found) == 4
    assert all(row["predicted"] == row["label"] for row in found)


@pytest.fixture(scope="module")
def tiny():
    """A very small model of the polynomial form with random weights."""
    return thex_hf.ThexBertForSequenceClassification(
        thex_hf.ThexBertConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=128,
            activation="quadratic",
            softmax="power",
        )
    ).float()


def test_workers_of_a_cluster_share_tickets(address, tiny, tmp_path):
    """They are kept in the database of the keys: whoever gets a text knows what is spent."""
    from ray import serve

    from thex_hf.serving.http.settings import BearerTokens

    keys = f"sqlite:///{tmp_path}/keys.db"
    spec = spec_of(tiny, keys, backend="seal", options=PlanOptions("prepared"))
    application = load("service").gate(spec, 2, BearerTokens())
    serve.run(application, name="prepared", route_prefix="/prepared")
    client = Client(HttpTransport(f"{address}/prepared"), tmp_path / "mine", tries=6)
    texts = [np.random.default_rng(seed).normal(size=(5, 16)) for seed in range(4)]
    try:
        results = [client.run(text) for text in texts[:2]]
        for worker in find_workers()[-2:]:
            worker.kill()
        time.sleep(1)
        results += [client.run(text) for text in texts[2:]]
    finally:
        serve.delete("prepared")
    left = [result.tickets_left for result in results]
    assert left[:2] == [511, 510]
    assert left[3] == left[2] - 1 >= 500  # a text that a dead worker held cost its ticket
    for text, result in zip(texts, results, strict=True):
        want = polynomial_logits(tiny.encoder_weights(), text)
        assert np.abs(result.logits - want).max() < 0.01


def test_a_stock_of_tickets_is_prepared_by_several_tasks(address, tiny, tmp_path):
    spec = spec_of(tiny, tmp_path / "served", backend="seal", options=PlanOptions("prepared"))
    mine = str(tmp_path / "mine")
    with running(spec, workers=2, tickets=spec.open_tickets()) as service:
        made, left = load("preparing").prepare(service.url, mine, tickets=600, tokens=16)
        assert [batch.tickets for batch in made] == [512, 512]
        assert left == 1024
        client = Client(HttpTransport(service.url), tmp_path / "mine", refill=0)
        text = np.random.default_rng(0).normal(size=(5, 16))
        result = client.run(text)
    want = polynomial_logits(tiny.encoder_weights(), text)
    assert np.abs(result.logits - want).max() < 0.01
    assert (result.tickets_left, result.prepare_seconds) == (1023, 0)
