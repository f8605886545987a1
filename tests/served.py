"""Servers for tests: in this process, and over HTTP with real workers."""

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import thex_hf
from thex_hf.serving.http.app import make_app
from thex_hf.serving.http.serve import HttpServer, ListenOptions
from thex_hf.serving.http.settings import Settings
from thex_hf.serving.spec import Spec, weights_to_bytes
from thex_hf.serving.worker_handles import ForkedWorkerFactory, ForkServerClient


class Near:
    """A transport that is the server itself."""

    def __init__(self, server, owner="anyone"):
        self.server, self.owner = server, owner

    def info(self):
        return self.server.info()

    def send_keys(self, data):
        return self.server.take_keys(data, self.owner)

    def answer(self, data, keys, run):
        return self.server.answer(data, keys, self.owner, run)

    def give_up(self, keys, run):
        self.server.runs.drop((self.owner, keys, run))


def load(form="the-x"):
    name = thex_hf.bundled_checkpoint(form)
    return thex_hf.ThexBertForSequenceClassification.from_pretrained(name).float().eval()


def spec_of(model, folder, **options):
    options = {"backend": "clear", "buckets": (16,), **options}
    return Spec(
        weights_to_bytes(model.encoder_weights()), str(folder), model.config.ranges, **options
    )


@contextmanager
def running(spec, *, settings=None, **options):
    """A service on a free port; its address, application and fork_server."""
    fork_server = ForkServerClient(spec)
    served, factory = fork_server.start(), ForkedWorkerFactory(fork_server)
    repository = spec.open_repository()
    app = make_app(served, factory, repository, settings=settings or Settings(), **options)
    server = HttpServer(app, ListenOptions(port=0))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    try:
        yield SimpleNamespace(
            url=url, app=app, fork_server=fork_server, port=port, repository=repository
        )
    finally:
        server.should_exit = True
        thread.join(30)
        fork_server.stop()
