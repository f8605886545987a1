"""The service on Ray: one gate that carries bytes, workers on every machine of the cluster.

    pip install '.[serve,sql]' 'ray[serve]'      # in a clone
    python examples/ray/service.py --workers 4 --keys postgresql+psycopg://user@host/keys
    thex-hf classify --backend remote --url http://127.0.0.1:8000 "A warm film."

Workers are Ray actors, the gate is a Ray Serve deployment; both find clients' keys in one
repository, a folder that all machines see or a database. A worker that dies is replaced, and its
texts are sent again by their clients. Ray pickles what it moves between its own processes: keep the
cluster's ports closed to others. Tried, in the checks too, with two nodes on one
machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError

import thex_hf
from thex_hf.endpoint.spec import spec_of
from thex_hf.errors import ChildError
from thex_hf.modeling.opening import open_model
from thex_hf.serving.http.app import make_app
from thex_hf.serving.http.settings import BearerTokens
from thex_hf.serving.spec import Spec
from thex_hf.serving.worker import Job, Worker


@ray.remote(num_cpus=1, max_restarts=0)
class Encoder:
    """One worker, with weights of its own."""

    def __init__(self, message: dict[str, Any]) -> None:
        spec = Spec.from_message(message)
        server = spec.server()
        server.prepare()
        self.served = server.served()
        if (tickets := spec.open_tickets()) is not None:
            server.tickets = tickets
        self.worker = Worker(server, spec.open_repository())

    def what(self) -> Any:
        """What is served."""
        return self.served

    def do(self, job: Job) -> dict[str, Any]:
        """Do a job."""
        return self.worker.do(job)


class RayWorker:
    """A worker as the pool sees it."""

    def __init__(self, actor: Any) -> None:
        self.actor, self.alive = actor, True
        self.name = f"actor {actor._actor_id.hex()[:8]}"

    async def ask(self, job: Job) -> dict[str, Any]:
        """One job; an actor that died is an end of file."""
        try:
            return dict(await self.actor.do.remote(job))
        except RayError as error:
            self.alive = False
            raise EOFError(str(error)) from error


class RayWorkerFactory:
    """Workers wherever the cluster has a core."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message

    async def start(self) -> RayWorker:
        """Start an actor and wait until it is ready."""
        actor = Encoder.options(scheduling_strategy="SPREAD").remote(self.message)
        try:
            await actor.what.remote()
        except RayError as error:
            raise ChildError(f"no worker could be started: {error}") from error
        return RayWorker(actor)

    async def stop(self, worker: RayWorker) -> str:
        """End an actor."""
        ray.kill(worker.actor)
        return "was ended"


def gate(spec: Spec, workers: int, tokens: BearerTokens) -> Any:
    """The Ray Serve application."""
    message = spec.to_message()

    def build() -> Any:
        first = Encoder.options(num_cpus=0).remote(message)
        served = ray.get(first.what.remote())
        ray.kill(first)
        return make_app(
            served,
            RayWorkerFactory(message),
            spec.open_repository(),
            tickets=spec.open_tickets(),
            workers=workers,
            tokens=tokens,
        )

    @serve.deployment(num_replicas=1, max_ongoing_requests=256)
    @serve.ingress(build)
    class Gate:
        """Carries bytes."""

    return Gate.bind()


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=thex_hf.bundled_checkpoint())
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keys", help="folder or database that all machines reach")
    parser.add_argument("--bucket", type=int, action="append")
    parser.add_argument("--protocol", help="what suits the model if none")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--weights-memory", type=float, help="GB of encoded weights, each worker")
    chosen = parser.parse_args(argv)
    keys = chosen.keys or tempfile.mkdtemp(prefix="thex-keys-")
    spec = spec_of(
        open_model(chosen.model),
        keys,
        protocol=chosen.protocol,
        buckets=chosen.bucket,
        weights_memory=chosen.weights_memory,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": chosen.port})
    serve.run(gate(spec, chosen.workers, BearerTokens()))
    print(f"serving at http://127.0.0.1:{chosen.port} with {chosen.workers} workers", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
