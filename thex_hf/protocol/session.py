"""Both roles on one machine: plans, keys, engines and runs, joined by bytes only.

The session owns one client half and one server half for each key set. The server half is
built from the evaluation keys and the weights alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thex_hf.backends.base import KeyRequest, SlotBackend
from thex_hf.encrypted.plan import Plan
from thex_hf.encrypted.planner import make_plan
from thex_hf.encrypted.preparation import prepare
from thex_hf.encrypted.ranges import range_bits
from thex_hf.encrypted.shape import bucket
from thex_hf.layout.engines import ClientEngine, ServerEngine, Vector
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import KeyStore
from thex_hf.protocol.local import Transcript, exchange
from thex_hf.protocol.progress import progress
from thex_hf.protocol.server import ServedModel, ServerRun
from thex_hf.weights import EncoderWeights


@dataclass(frozen=True)
class Halves:
    """The two engines of one key set, and what it took to make them."""

    client: ClientEngine
    server: ServerEngine
    key_id: str
    key_bytes: int
    keygen_seconds: float


@dataclass(frozen=True)
class Outcome:
    """One classified text: the transcript, its plan, and one-time costs paid by this call."""

    transcript: Transcript
    plan: Plan
    key_bytes: int
    keygen_seconds: float  # 0 when the keys were there already
    prepare_seconds: float  # 0 when the weights were encoded already


class LocalSession:
    """Runs texts through the protocol in this process.

    Args:
        weights: the converted encoder.
        backend: the slot backend to run on.
        softmax: one of :data:`thex_hf.encrypted.schedule.SOFTMAX`.
        ranges: calibrated ranges of the checkpoint, see
            :func:`thex_hf.encrypted.ranges.range_bits`.
        keys: directory to keep keys in; None keeps them in memory.
    """

    def __init__(
        self,
        weights: EncoderWeights,
        backend: SlotBackend,
        *,
        softmax: str = "estimate",
        ranges: Sequence[Mapping[str, float]] | None = None,
        keys: Path | None = None,
    ) -> None:
        self.backend = backend
        self.softmax = softmax
        self._bits = range_bits(weights, ranges)
        self._model = ServedModel(weights)
        self._store = None if keys is None else KeyStore(keys)
        self._plans: dict[int, Plan] = {}
        self._halves: dict[str, Halves] = {}
        self._prepared: set[str] = set()

    def plan(self, tokens: int) -> Plan:
        """The plan for a text of ``tokens`` tokens (of its bucket, in fact).

        Raises:
            PlanError: too many tokens, or the model fits no parameters.
        """
        size = bucket(tokens)
        if size not in self._plans:
            weights = self._model.weights
            self._plans[size] = make_plan(weights, size, self._bits, softmax=self.softmax)
        return self._plans[size]

    def run(self, embeddings: Vector) -> Outcome:
        """Classify one text from its embeddings ``(tokens, d)``.

        Raises:
            ThexError: as the plan, the keys and the roles raise.
        """
        plan = self.plan(len(embeddings))
        halves, keygen = self._get_halves(plan)
        begin = time.perf_counter()
        fresh = self._prepare(plan, halves.server)
        seconds = time.perf_counter() - begin if fresh else 0.0
        client = ClientRun(plan, halves.client, halves.key_id, np.asarray(embeddings, np.float64))
        server = ServerRun(self._model, plan, halves.server, halves.key_id)
        return Outcome(exchange(client, server), plan, halves.key_bytes, keygen, seconds)

    def _get_halves(self, plan: Plan) -> tuple[Halves, float]:
        held = self._halves.get(plan.key_set)
        if held is not None:
            return held, 0.0
        halves = self._make_halves(plan)
        self._halves[plan.key_set] = halves
        return halves, halves.keygen_seconds

    def _make_halves(self, plan: Plan) -> Halves:
        begin = time.perf_counter()
        pair = self._store.load(plan.key_set, self.backend.name) if self._store else None
        if pair is None:
            request = KeyRequest(plan.parameters, plan.rotations, relinearisation=True)
            pair = self.backend.generate(request)
            if self._store:
                self._store.save(plan.key_set, self.backend.name, *pair)
        secret, evaluation = pair
        client = self.backend.client(plan.parameters, secret)
        server = self.backend.server(plan.parameters, evaluation, plan.rotations)
        seconds = time.perf_counter() - begin
        return Halves(client, server, evaluation.key_id, evaluation.size, seconds)

    def _prepare(self, plan: Plan, engine: ServerEngine) -> bool:
        if plan.id in self._prepared:
            return False
        total = sum(n for (verb, _), n in plan.operations.items() if verb == "encode")
        with progress(total, "encoding weights") as bar:
            prepare(engine, self._model.store(plan), plan, self._model.layers, bar.update)
        self._prepared.add(plan.id)
        return True
