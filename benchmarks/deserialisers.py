"""Everything in the package that reads bytes from the other side, for :mod:`hostile`."""

from __future__ import annotations

import collections
import json
import re
from pathlib import Path

import msgpack

import thex_hf
from thex_hf.backends.registry import get_backend
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.plan_reading import read_plan
from thex_hf.client.half import ClientHalf
from thex_hf.errors import ChildError, ThexError
from thex_hf.processes import error_from_message
from thex_hf.protocol import keyfile
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import key_request
from thex_hf.protocol.messages import Message
from thex_hf.serving.engine_cache import EngineCache, KeysName
from thex_hf.serving.fairness import ANYONE
from thex_hf.serving.runs import Runs
from thex_hf.serving.server import ThexServer
from thex_hf.serving.worker import Job, Worker


class _OneFile:
    """A repository of one key file."""

    data = b""

    def read(self, name: str, owner: str) -> bytes:
        return self.data


class Readers:
    """Hands bytes to each reader in turn and counts what comes of it.

    Args:
        traffic: real messages by kind.
    """

    def __init__(self, traffic: dict[str, list[bytes]]) -> None:
        self.count = 0
        self.accepted: collections.Counter[str] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self.unexpected: list[str] = []
        model = thex_hf.ThexBertForSequenceClassification.from_pretrained(
            thex_hf.bundled_checkpoint("the-x")
        ).float()
        backend = get_backend("seal")
        self.server = ThexServer(
            model.encoder_weights(),
            backend,
            ranges=model.config.ranges,
            buckets=(16,),
            engines=EngineCache(20_000_000),  # so that memory shows leaks, not what is kept,
            runs=Runs(seconds=0.001),  # texts that mutations left whole among it
        )
        self.server.prepare()
        self.repository = _OneFile()
        self.worker = Worker(self.server, self.repository)  # type: ignore[arg-type]
        self.keys = self.server.take_keys(traffic["keys"][0])
        held = self.server.engines.get(KeysName(ANYONE, self.keys))
        assert held is not None
        self.evaluator = held.engine  # other keys may push these out of the cache
        plan = next(iter(self.server._plans.values()))
        assert isinstance(plan, Plan)
        secret, _evaluation = backend.generate(key_request(plan))
        half = ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))
        self.engine = backend.client(plan.parameters, secret)
        fields = msgpack.unpackb(traffic["down"][0])
        embeddings = half.embed(*half.tokenise("A warm film."))
        self.client = ClientRun(plan, self.engine, fields["key"], embeddings, run=fields["run"])
        self.info = json.loads(traffic["info"][0])
        self.readers = [
            self._message, self._key_file, self._take_keys, self._plan, self._client, self._server,
            self._worker, self._ciphertext,
        ]  # fmt: skip

    def act(self, number: int, data: bytes) -> None:
        """Hand one message to one reader."""
        reader = self.readers[number % len(self.readers)]
        name = reader.__name__
        self.count += 1
        try:
            reader(data)
            self.accepted[name] += 1
        except ThexError as error:
            self.refused[f"{name} {type(error).__name__}"] += 1
        except Exception as error:
            self.unexpected.append(f"{name} {type(error).__name__}: {error}"[:300])

    def memory(self) -> int:
        """Resident megabytes."""
        found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(found[1]) // 1000 if found else 0

    def _message(self, data: bytes) -> None:
        Message.from_bytes(data)

    def _key_file(self, data: bytes) -> None:
        keyfile.from_bytes(data, "the file")

    def _take_keys(self, data: bytes) -> None:
        self.server.take_keys(data, "eve")

    def _plan(self, data: bytes) -> None:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = dict(self.info["plans"]["16"])
            for index, byte in enumerate(data[:4]):
                key = sorted(found)[byte % len(found)]
                found[key] = (None, -1, 2**40, [], "x", {}, 1.5, True)[(byte + index) % 8]
        if isinstance(found, dict) and isinstance(found.get("plans"), dict):
            found = found["plans"].get("16")
        read_plan(found)

    def _client(self, data: bytes) -> None:
        self.client.step = 0
        self.client.receive(data)

    def _server(self, data: bytes) -> None:
        self.server.answer(data, self.keys)

    def _worker(self, data: bytes) -> None:
        self.repository.data = data
        result = self.worker.do(Job("answer", "eve", "0" * 64, "0" * 32, data))
        if "error" in result:
            error = error_from_message(result["error"])
            if isinstance(error, ChildError):  # one that is not ours
                raise RuntimeError(str(error))
            raise error

    def _ciphertext(self, data: bytes) -> None:
        self.evaluator.load(data)
        self.engine.decrypt(data)
