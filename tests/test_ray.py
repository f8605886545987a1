"""The service on Ray, and scoring by Ray Data; where Ray is installed."""

import importlib.util
import os
import time
from pathlib import Path

import numpy as np
import pytest

import thex_hf

FOLDER = Path(__file__).parents[1] / "examples" / "ray"


def load(name):
    spec = importlib.util.spec_from_file_location(f"ray_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve")
    from thex_hf.endpoint.spec import spec_of
    from thex_hf.modeling.opening import open_model
    from thex_hf.serving.http.settings import BearerTokens

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    module = load("service")
    keys = f"sqlite:///{tmp_path_factory.mktemp('keys')}/keys.db"
    spec = spec_of(open_model(thex_hf.bundled_checkpoint()), keys, buckets=(16,))
    serve.start(http_options={"host": "127.0.0.1", "port": 8765})
    serve.run(module.gate(spec, 2, BearerTokens()))
    yield "http://127.0.0.1:8765"
    serve.shutdown()
    ray.shutdown()


def test_a_cluster_answers_and_replaces_a_worker(address):
    import ray

    from thex_hf.client.client import ThexClient
    from thex_hf.client.half import ClientHalf
    from thex_hf.client.http import open_transport

    half = ClientHalf.open(thex_hf.bundled_checkpoint())
    client = ThexClient(half, open_transport(address))
    first = client.classify("A warm, funny film.")
    assert first.label == "POSITIVE"
    import psutil

    workers = [p for p in psutil.process_iter() if "ray::Encoder" in " ".join(p.cmdline())]
    assert len(workers) == 2
    for worker in workers:
        worker.kill()
    time.sleep(1)
    client.client.tries = 6
    again = client.classify("A warm, funny film.")
    np.testing.assert_allclose(again.logits, first.logits, atol=1e-3)
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
