"""One model served to many clients, whatever carries the bytes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from thex_hf._machine import free_memory
from thex_hf.backends.base import EvaluationKeys, SlotBackend
from thex_hf.circuits.dispatch import (
    batch_plan_for,
    can_batch,
    check_form,
    circuit_for,
    fewest_for_a_batch,
    plan_for,
)
from thex_hf.circuits.parallel import SEQUENTIAL, ParallelRunner
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.planning import encode_weights
from thex_hf.circuits.protocols import DEFAULT_OPTIONS, PlanOptions
from thex_hf.circuits.shape import BUCKETS
from thex_hf.ckks.plaintext_cache import MemoryBound
from thex_hf.errors import KeyMismatch, PlanMismatch, ThexError, WireError
from thex_hf.prepared.bfv.server import BfvServer
from thex_hf.prepared.jobs import LinearJob
from thex_hf.prepared.plan import PROTOCOL as PREPARED
from thex_hf.prepared.plan import AnyPlan, PreparedPlan, check_engine, prepared_plan
from thex_hf.prepared.preparing import SLAB
from thex_hf.prepared.wire import preparation_id
from thex_hf.protocol import keyfile
from thex_hf.protocol.messages import VERSION, Message
from thex_hf.protocol.prepared_server import (
    MemoryLedger,
    PreparationRun,
    PreparedServerRun,
    TicketLedger,
)
from thex_hf.protocol.server import ServedModel, ServerRun
from thex_hf.serving.engine_cache import CachedEngine, EngineCache, KeysName
from thex_hf.serving.fairness import ANYONE
from thex_hf.serving.runs import Run, RunName, Runs
from thex_hf.weights import EncoderWeights

SPARE_BYTES = 1 << 20
"""For what surrounds the ciphertexts of a message."""


@dataclass(frozen=True)
class Served:
    """What clients and carriers must know of a server.

    Args:
        info: for clients, before they make keys; JSON values.
        most_bytes: that no message to the server exceeds, with ciphertexts uncompressed.
    """

    info: dict[str, Any]
    most_bytes: int


@dataclass(eq=False)
class ThexServer:
    """Holds a model and evaluation keys; answers messages. Nothing in it can decrypt.

    Args:
        weights: the converted encoder.
        backend: the slot backend.
        ranges: calibrated ranges of the checkpoint.
        options: of the plans; the ring is not for batches, which take the best.
        buckets: padded lengths that are served from the start; others when they are asked for.
        batches: clients are told of plans for many texts in one request, where protocol and model
            allow it; their messages and a worker's memory are larger.
        runs: bounds of what is in progress.
        engines: of the keys in memory, and their bounds.
        runner: runs what is independent within one text.
        tickets: of protocol ``prepared``: where its batches are kept.
        plaintext_bytes: that encoded weights may take, of all plans and in all processes that are
            forked from this one; what does not fit is encoded for each text. None: half of the
            memory that is free now.

    Raises:
        PlanError: the model's form does not fit the protocol, or no plan for a bucket.
    """

    weights: EncoderWeights
    backend: SlotBackend
    ranges: Sequence[Mapping[str, float]] | None = None
    options: PlanOptions = DEFAULT_OPTIONS
    buckets: tuple[int, ...] = BUCKETS
    batches: bool = False
    runs: Runs = field(default_factory=Runs)
    engines: EngineCache = field(default_factory=EngineCache)
    runner: ParallelRunner = field(default=SEQUENTIAL, repr=False)
    tickets: TicketLedger = field(default_factory=MemoryLedger)
    plaintext_bytes: float | None = None
    _plans: dict[str, AnyPlan] = field(init=False, default_factory=dict, repr=False)
    _singles: dict[int, AnyPlan] = field(init=False, default_factory=dict, repr=False)
    _batches: dict[int, Plan] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Plan every bucket."""
        check_form(self.weights.form, self.options.protocol)
        most = free_memory() / 2 if self.plaintext_bytes is None else self.plaintext_bytes
        self._model = ServedModel(self.weights, MemoryBound(most))
        if self.options.protocol == PREPARED:
            check_engine(self.backend.name)
        else:
            _ = self._model.folded  # once, before any process is forked
        for size in self.buckets:
            self.plan(size)
            if self.batches:
                self.batch_plan(size)

    def plan(self, tokens: int) -> AnyPlan:
        """The plan for one text of a bucket, made when first asked for.

        Args:
            tokens: padded length, one of :data:`thex_hf.circuits.shape.BUCKETS`.

        Raises:
            PlanError: no parameters carry the model.
        """
        if tokens not in self._singles:
            plan = self._planned(tokens)
            self._singles[tokens] = self._plans[plan.id] = plan
            if isinstance(plan, PreparedPlan):
                self._plans[preparation_id(plan.id)] = plan
        return self._singles[tokens]

    def _planned(self, tokens: int) -> AnyPlan:
        if self.options.protocol == PREPARED:
            return prepared_plan(self.weights, tokens, softmax=self.options.softmax)
        return plan_for(self.weights, tokens, self.ranges, self.options)

    def batch_plan(self, tokens: int) -> Plan | None:
        """The plan for many texts of a bucket in one request; None: protocol or model forbid it.

        Raises:
            PlanError: no parameters carry the model.
        """
        if not can_batch(self.options.protocol, self.weights.head):
            return None
        if tokens not in self._batches:
            options = replace(self.options, ring=None)
            plan = batch_plan_for(self.weights, tokens, self.ranges, options)
            self._batches[tokens] = self._plans[plan.id] = plan
        return self._batches[tokens]

    @property
    def plans(self) -> Mapping[str, AnyPlan]:
        """The plans that are served, by id."""
        return self._plans

    def prepare(
        self,
        tick: Callable[[], None] = lambda: None,
        plan: str | None = None,
        keys: str | None = None,
    ) -> None:
        """Encode the weights of every plan for one text, or of one plan, as far as they fit.

        Args:
            tick: called after each plaintext.
            plan: id of the only one to prepare.
            keys: name of anybody's keys whose engine encodes; None: one without keys does.
        """
        for one in self._singles.values() if plan is None else [self._plans[plan]]:
            if isinstance(one, PreparedPlan):
                continue  # its weights are used as they are
            held = None if keys is None else self.engines.get(KeysName(ANYONE, keys))
            if held is not None:
                encoder = held.engine
            else:
                encoder = self.backend.server(one.parameters, EvaluationKeys.of(b"", b""), ())
            circuit = circuit_for(one, self._model.folded)
            encode_weights(encoder, self._model.store(one), one, circuit, tick)

    def info(self) -> dict[str, Any]:
        """What a client must know before it makes keys, as JSON values."""
        told = {
            "format": VERSION,
            "backend": self.backend.name,
            "protocol": self.options.protocol,
            "form": self.weights.form,
            "model": self.weights.fingerprint(),
            "plans": {str(plan.tokens): plan.to_json() for plan in self._singles.values()},
        }
        if self.options.protocol == PREPARED:
            told["ticket_batches"] = self.tickets.most_batches
            if math.isfinite(seconds := self.tickets.seconds):
                told["ticket_seconds"] = seconds
        if self.batches:
            plans = {str(plan.shape.tokens): plan for plan in self._batches.values()}
            told["batches"] = {tokens: plan.to_json() for tokens, plan in plans.items()}
            told["batch_from"] = {
                str(plan.shape.tokens): fewest_for_a_batch(plan, single)
                for size, plan in self._batches.items()
                if isinstance(single := self._singles[size], Plan)
            }
        return told

    def served(self) -> Served:
        """What clients and carriers must know."""
        return Served(self.info(), max(map(_most_bytes, self._plans.values())))

    def take_keys(self, data: bytes, owner: str = ANYONE) -> str:
        """Keep a client's evaluation keys, a whole key file; its SHA-256 names it from now on.

        Raises:
            WireError: no key file, or the backend refuses what is in it.
            KeyMismatch: of another backend, or of secret keys.
            PlanMismatch: no plan here needs that key set.
        """
        file = keyfile.from_bytes(data, "the key file")
        if file.kind != "evaluation" or file.backend != self.backend.name:
            raise KeyMismatch(
                f"expected evaluation keys of backend {self.backend.name!r}, got {file.kind} keys "
                f"of backend {file.backend!r}; secret keys must never leave the client"
            )
        plan = next((p for p in self._plans.values() if p.key_set == file.plan_id), None)
        if plan is None:
            raise PlanMismatch(
                f"no plan of this server uses the key set {file.plan_id[:64]!r}; ask it for its "
                f"plans again"
            )
        parts = (file.part(name) for name in ("relinearisation", "rotations", "public"))
        name = KeysName(owner, hashlib.sha256(data).hexdigest())
        self.hold(name, plan, EvaluationKeys(file.key_id, *parts), len(data))
        return name.name

    def hold(self, name: KeysName, plan: AnyPlan, keys: EvaluationKeys, size: int) -> None:
        """Make an engine of a client's evaluation keys and keep it.

        Args:
            name: that messages will give.
            plan: one that the keys are for.
            keys: of the client.
            size: bytes that count towards the cache.

        Raises:
            WireError, KeyMismatch: the backend refuses them.
        """
        engine: Any = (
            BfvServer(plan.parameters, keys.public)
            if isinstance(plan, PreparedPlan)
            else self.backend.server(plan.parameters, keys, plan.rotations)
        )
        self.engines.put(name, CachedEngine(engine, keys.key_id, plan.key_set, size))

    def preparation_bytes(self) -> int:
        """About what one preparation run holds at most, of any plan; 0 under other protocols."""
        plans = self._singles.values()
        return max(
            (_held_bytes(plan) for plan in plans if isinstance(plan, PreparedPlan)), default=0
        )

    def has_keys(self, name: str, owner: str = ANYONE) -> bool:
        """Whether these keys are in memory."""
        return KeysName(owner, name) in self.engines

    def drop_keys(self, name: str, owner: str = ANYONE) -> bool:
        """Forget keys; whether they were here. Runs in progress go on."""
        return self.engines.drop(KeysName(owner, name))

    def answer(self, data: bytes, keys: str, owner: str = ANYONE, run: str | None = None) -> bytes:
        """Take a request or a reply, and run to the next visit or to the answer.

        Args:
            data: the message.
            keys: SHA-256 of the key file.
            owner: who sent it.
            run: that the message should be of, where the carrier says so too.

        Raises:
            WireError: no message, of another run, or not the one expected; a run in progress
                stays as it was.
            PlanMismatch, KeyMismatch: made for another model, or keys that are not here.
            BusyError, ExpiredError: see :class:`thex_hf.serving.runs.Runs`.
        """
        message = Message.from_bytes(data)
        if run not in (None, message.run):
            raise WireError(f"the message is of run {message.run}, but was sent as one of {run}")
        name = RunName(owner, keys, message.run)
        if message.type == "request":
            own = self._begin(message, name)
            preparing = isinstance(own, PreparationRun) and bool(message.parts)
            self.runs.check_room(name, preparing=preparing)
            out = own.start(message)
            self.runs.put(name, own, preparing=preparing)
        elif message.type == "reply":
            own = self.runs.get(name)
            try:
                out = own.reply(message)
            except ThexError:
                raise
            except Exception:
                self.runs.drop(name)  # its circuit has stopped half way
                raise
        else:
            raise WireError(f"a server takes requests and replies, got {message.type!r}")
        self.runs.touch(name)
        if own.finished:
            self.runs.drop(name)
        return out

    def _begin(self, message: Message, name: RunName) -> Run:
        plan = self._plans.get(message.plan)
        if plan is None:
            raise PlanMismatch(
                f"the message was made for plan {message.plan}, which this server does not have; "
                f"ask it for its plans again"
            )
        held = self.engines.get(KeysName(name.owner, name.keys))
        if held is None or held.key_set != plan.key_set:
            raise KeyMismatch(
                f"the evaluation keys {name.keys[:64]!r} of this plan are not here; send them first"
            )
        if isinstance(plan, PreparedPlan):
            about = (plan, self.tickets, name.owner, name.keys, held.key_id)
            if message.plan == plan.id:
                return PreparedServerRun(*about)
            return PreparationRun(*about, cipher=held.engine)
        return ServerRun(self._model, plan, held.engine, held.key_id, self.runner)


def _held_bytes(plan: PreparedPlan) -> int:
    """Linear maps hold all their inputs and a slab; whatever goes down is there twice."""
    most = max(
        (sum if isinstance(job, LinearJob) else max)(chunk.up for chunk in job.chunks)
        + 2 * max(chunk.down for chunk in job.chunks)
        + (SLAB if isinstance(job, LinearJob) else 0)
        for job in plan.batch.jobs
    )
    return 16 * plan.parameters.ring_degree * len(plan.parameters.prime_bits) * most


def _most_bytes(plan: AnyPlan) -> int:
    """The largest message of a client: two polynomials a ciphertext, 8 bytes a coefficient."""
    if isinstance(plan, PreparedPlan):
        most = max(chunk.up for job in plan.batch.jobs for chunk in job.chunks)
        limbs = 2 * len(plan.parameters.prime_bits)
        ciphertexts = 8 * plan.parameters.ring_degree * limbs * most
        return SPARE_BYTES + max(plan.bytes_up, ciphertexts)
    visits = [
        [p for part in visit.parts for p in part.returns] for visit in plan.schedule.round_trips
    ]
    sizes = [
        sum(packing.ciphertexts * (level + 2) for packing, level in one)
        for one in [plan.schedule.inputs, *visits]
    ]
    return SPARE_BYTES + 16 * plan.parameters.ring_degree * max(sizes)
