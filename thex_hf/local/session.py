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

from thex_hf._progress import progress
from thex_hf.backends.base import SlotBackend
from thex_hf.circuits.dispatch import (
    BATCH_HEAD,
    batch_plan_for,
    check_form,
    pays,
    plan_for,
    program_for,
)
from thex_hf.circuits.encode_weights import prepare
from thex_hf.circuits.parallel import together
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.shape import bucket
from thex_hf.ckks.engine import ClientEngine, ServerEngine, Vector
from thex_hf.client.spreading import check_packing, classify_all, process_count, shares
from thex_hf.errors import TextError
from thex_hf.processes.pool import check_processes
from thex_hf.protocol.client import BatchClientRun, ClientRun, Conversation, check_embeddings
from thex_hf.protocol.keys import KeyStore, key_request
from thex_hf.protocol.result import Answer, Outcome, Transcript, exchange
from thex_hf.protocol.server import ServedModel, ServerRun
from thex_hf.weights import EncoderWeights

BATCHED = ("refresh",)
"""Protocols whose texts may share a request: for one-shot no machine of ours was large enough."""


@dataclass(frozen=True)
class Halves:
    """The two engines of one key set, and what it took to make them."""

    client: ClientEngine
    server: ServerEngine
    key_id: str
    key_bytes: int
    keygen_seconds: float


@dataclass(frozen=True)
class _Ready:
    """The client role of one text or batch, its keys, and the one-time costs it paid."""

    client: Conversation
    halves: Halves
    keygen_seconds: float
    prepare_seconds: float

    def outcomes(self, transcript: Transcript) -> list[Outcome]:
        """For each text, with its share of the transcript."""
        plan, key_bytes = self.client.plan, self.halves.key_bytes
        batch = isinstance(self.client, BatchClientRun)
        parts = shares(transcript) if batch else [transcript]
        once = [(self.keygen_seconds, self.prepare_seconds)] + [(0.0, 0.0)] * (len(parts) - 1)
        return [
            Outcome(part, plan, key_bytes, *costs, batch=len(parts))
            for part, costs in zip(parts, once, strict=True)
        ]


class LocalSession:
    """Runs texts through the protocol in this process.

    Args:
        weights: the converted encoder.
        backend: the slot backend to run on.
        protocol: one of :data:`thex_hf.circuits.dispatch.FORMS`.
        softmax: one of :data:`thex_hf.circuits.schedule.SOFTMAX`, for ``client-aided``.
        ranges: calibrated ranges of the checkpoint, see
            :func:`thex_hf.circuits.ranges.range_bits`.
        ring_degree: N, for the other protocols; the cheapest if None.
        flood: for the other protocols, one of :data:`thex_hf.circuits.dispatch.FLOODS`.
        keys: directory to keep keys in; None keeps them in memory.
        processes: how many to use, this one included, where the backend allows it; None: as
            many as there are usable cores.
        packing: ``text`` sends every text in a request of its own, ``batch`` puts many into
            one under the protocols of :data:`BATCHED` (under others, and for models whose
            classifier reads more than [CLS], it is as ``text``), ``auto`` does what is expected
            to be faster.

    Raises:
        PlanError: the model's form does not fit the protocol.
        OptionError: ``processes`` is less than one, or a packing that is not on offer.
    """

    def __init__(
        self,
        weights: EncoderWeights,
        backend: SlotBackend,
        *,
        protocol: str = "client-aided",
        softmax: str = "estimate",
        ring_degree: int | None = None,
        flood: str | None = None,
        ranges: Sequence[Mapping[str, float]] | None = None,
        keys: Path | None = None,
        processes: int | None = None,
        packing: str = "auto",
    ) -> None:
        self.backend = backend
        self._processes = check_processes(processes)
        self._packing = check_packing(packing)
        check_form(weights.form, protocol)
        self._protocol, self._softmax, self._ring = protocol, softmax, ring_degree
        self._flood = flood
        self._ranges = ranges
        self._model = ServedModel(weights)
        self._store = None if keys is None else KeyStore(keys)
        self._plans: dict[int, Plan] = {}
        self._batch_plans: dict[int, Plan] = {}
        self._halves: dict[str, Halves] = {}
        self._prepared: set[str] = set()

    def plan(self, tokens: int) -> Plan:
        """The plan for a text of ``tokens`` tokens (of its bucket, in fact).

        Raises:
            PlanError: too many tokens, or the model fits no parameters.
        """
        size = bucket(tokens)
        if size not in self._plans:
            self._plans[size] = plan_for(
                self._model.weights,
                size,
                self._ranges,
                protocol=self._protocol,
                softmax=self._softmax,
                ring_degree=self._ring,
                flood=self._flood,
            )
        return self._plans[size]

    def run(self, embeddings: Vector) -> Outcome:
        """Classify one text from its embeddings ``(tokens, d)``.

        Raises:
            ThexError: as the plan, the keys and the roles raise.
        """
        ready = self._ready(embeddings)
        processes = process_count(self.backend, self._processes, pieces=True)
        return ready.outcomes(self._exchange(ready, processes))[0]

    def run_many(self, embeddings: Sequence[Vector], processes: int | None = None) -> list[Answer]:
        """Classify several texts, each from its embeddings ``(tokens, d)``.

        Texts of one bucket share a request where that pays; requests run side by side. Keys
        and weights are made here, before any child; children share them.

        Args:
            embeddings: one array for each text.
            processes: how many children; None: what the session was made with.

        Returns:
            In the order of the texts an outcome, or the error of a text that cannot be served.
            One-time costs stand in the first outcome that needed them.

        Raises:
            ThexError: as :meth:`run`, if it is about more than one text.
        """
        wanted = check_processes(processes) or self._processes
        side = process_count(self.backend, wanted, pieces=False)
        out: dict[int, Answer] = self._refused(embeddings)
        able = [index for index in range(len(embeddings)) if index not in out]
        requests = [
            (plan, [able[index] for index in group])
            for plan, group in self._requests([len(embeddings[index]) for index in able], side)
        ]
        ready = [
            self._ready_batch(plan, [embeddings[i] for i in texts])
            if plan
            else self._ready(embeddings[texts[0]])
            for plan, texts in requests
        ]
        pieces = process_count(self.backend, wanted, pieces=True) if len(ready) == 1 else 1
        transcripts = classify_all(
            len(ready), lambda index: self._exchange(ready[index], pieces), side
        )
        for (_, texts), one, found in zip(requests, ready, transcripts, strict=True):
            each = [found] * len(texts) if isinstance(found, TextError) else one.outcomes(found)
            out |= dict(zip(texts, each, strict=True))
        return [out[index] for index in range(len(embeddings))]

    def _refused(self, embeddings: Sequence[Vector]) -> dict[int, Answer]:
        """The texts that no request can take, and why."""
        out: dict[int, Answer] = {}
        for index, text in enumerate(embeddings):
            try:
                check_embeddings(self.plan(len(text)), text)
            except TextError as error:
                out[index] = error
        return out

    def _requests(self, lengths: Sequence[int], side: int) -> list[tuple[Plan | None, list[int]]]:
        """What goes into each request: a batch plan with many texts, or None with one."""
        groups: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            groups.setdefault(bucket(length), []).append(index)
        out: list[tuple[Plan | None, list[int]]] = []
        for size, texts in groups.items():
            plan = self._batch_plan(size, len(texts), side)
            most = plan.options["sentences"] if plan else 1
            out += [(plan, texts[i : i + most]) for i in range(0, len(texts), most)]
        return out

    def _batch_plan(self, size: int, texts: int, side: int) -> Plan | None:
        """The plan to put ``texts`` texts of one bucket into one request; None: do not."""
        able = self._protocol in BATCHED and self._model.weights.head == BATCH_HEAD
        able = able and self._packing != "text"
        if not able or (texts == 1 and self._packing == "auto"):
            return None
        if size not in self._batch_plans:
            self._batch_plans[size] = batch_plan_for(
                self._model.weights,
                size,
                self._ranges,
                protocol=self._protocol,
                flood=self._flood,
            )
        plan = self._batch_plans[size]
        faster = self._packing == "batch" or pays(plan, self.plan(size), texts, side)
        return plan if faster else None

    def _ready_batch(self, plan: Plan, embeddings: Sequence[Vector]) -> _Ready:
        halves, keygen = self._get_halves(plan)
        texts = [np.asarray(text, np.float64) for text in embeddings]
        client = BatchClientRun(plan, halves.client, halves.key_id, texts)
        return _Ready(client, halves, keygen, 0.0)

    def _ready(self, embeddings: Vector) -> _Ready:
        """Everything for one text that must not happen in a child."""
        plan = self.plan(len(embeddings))
        halves, keygen = self._get_halves(plan)
        begin = time.perf_counter()
        fresh = self._prepare(plan, halves.server)
        seconds = time.perf_counter() - begin if fresh else 0.0
        client = ClientRun(plan, halves.client, halves.key_id, np.asarray(embeddings, np.float64))
        return _Ready(client, halves, keygen, seconds)

    def _exchange(self, ready: _Ready, processes: int) -> Transcript:
        halves, side = ready.halves, together(processes)
        server = ServerRun(self._model, ready.client.plan, halves.server, halves.key_id, side)
        return exchange(ready.client, server)

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
            pair = self.backend.generate(key_request(plan))
            if self._store:
                pair = self._store.save(plan.key_set, self.backend.name, *pair)
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
            program = program_for(plan, self._model.folded)
            prepare(engine, self._model.store(plan), plan, program, bar.update)
        self._prepared.add(plan.id)
        return True
