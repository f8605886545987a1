"""One model served to many clients, whatever carries the bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thex_hf.backends.base import EvaluationKeys, SlotBackend
from thex_hf.encrypted.circuits import plan_for, program_for
from thex_hf.encrypted.plan import Plan
from thex_hf.encrypted.preparation import prepare
from thex_hf.encrypted.shape import BUCKETS, bucket
from thex_hf.errors import KeyMismatch, PlanMismatch, ThexError
from thex_hf.layout.engines import ServerEngine
from thex_hf.protocol.messages import VERSION, Message
from thex_hf.protocol.server import ServedModel, ServerRun
from thex_hf.service.runs import Runs
from thex_hf.weights import EncoderWeights


@dataclass(eq=False)
class ThexServer:
    """Holds a model and evaluation keys; answers messages. Nothing in it can decrypt.

    Args:
        weights: the converted encoder.
        backend: the slot backend.
        ranges: calibrated ranges of the checkpoint.
        protocol: one that serves the model's form.
        softmax: for ``client-aided``.
        ring_degree: for the other protocols; the cheapest if None.
        buckets: padded lengths that are served.
        runs: bounds of what is in progress.

    Raises:
        PlanError: no plan for a bucket.
    """

    weights: EncoderWeights
    backend: SlotBackend
    ranges: Sequence[Mapping[str, float]] | None = None
    protocol: str = "client-aided"
    softmax: str = "estimate"
    ring_degree: int | None = None
    buckets: tuple[int, ...] = BUCKETS
    runs: Runs = field(default_factory=Runs)
    _plans: dict[str, Plan] = field(init=False, default_factory=dict, repr=False)
    _engines: dict[str, tuple[str, ServerEngine]] = field(
        init=False, default_factory=dict, repr=False
    )
    _prepared: set[str] = field(init=False, default_factory=set, repr=False)

    def __post_init__(self) -> None:
        """Plan every bucket."""
        self._model = ServedModel(self.weights)
        for size in self.buckets:
            plan = plan_for(
                self.weights,
                size,
                self.ranges,
                protocol=self.protocol,
                softmax=self.softmax,
                ring_degree=self.ring_degree,
            )
            self._plans[plan.id] = plan

    def info(self) -> dict[str, Any]:
        """What a client must know before it makes keys, as JSON values."""
        return {
            "format": VERSION,
            "backend": self.backend.name,
            "protocol": self.protocol,
            "model": self.weights.fingerprint(),
            "plans": {str(plan.shape.tokens): plan.to_json() for plan in self._plans.values()},
        }

    def plan(self, tokens: int) -> Plan:
        """The plan for a text of ``tokens`` tokens.

        Raises:
            PlanError: longer than any bucket.
        """
        size = bucket(tokens)
        return next(plan for plan in self._plans.values() if plan.shape.tokens >= size)

    def take_keys(self, key_set: str, evaluation: EvaluationKeys) -> None:
        """Keep a client's evaluation keys, and encode the weights if nobody's have been yet.

        Raises:
            PlanMismatch: no plan here needs that key set.
            WireError: the backend refuses the bytes.
        """
        plans = [plan for plan in self._plans.values() if plan.key_set == key_set]
        if not plans:
            raise PlanMismatch(
                f"no plan of this server uses the key set {key_set}; ask it for its plans again"
            )
        plan = plans[0]
        engine = self.backend.server(plan.parameters, evaluation, plan.rotations)
        self._engines[evaluation.key_id] = (key_set, engine)
        for own in plans:
            self._prepare(own, engine)

    def has_keys(self, key_id: str) -> bool:
        """Whether these keys are here."""
        return key_id in self._engines

    def drop_keys(self, key_id: str) -> bool:
        """Forget keys; whether they were here."""
        return self._engines.pop(key_id, None) is not None

    def answer(self, data: bytes) -> bytes:
        """Take a request or a reply, and run to the next visit or to the answer.

        Raises:
            WireError: no message, or not the one expected; a run in progress stays as it was.
            PlanMismatch, KeyMismatch: made for another model, or keys that are not here.
            BusyError, ExpiredError: see :class:`thex_hf.service.runs.Runs`.
        """
        message = Message.from_bytes(data)
        if message.type == "request":
            run = self._begin(message)
            self.runs.put(message.key, message.run, run)
            try:
                out = run.start(data)
            except ThexError:
                self.runs.drop(message.key, message.run)
                raise
        else:
            run = self.runs.get(message.key, message.run)
            out = run.reply(data)
        if run.finished:
            self.runs.drop(message.key, message.run)
        return out

    def _begin(self, message: Message) -> ServerRun:
        plan = self._plans.get(message.plan)
        if plan is None:
            raise PlanMismatch(
                f"the message was made for plan {message.plan}, which this server does not have; "
                f"ask it for its plans again"
            )
        held = self._engines.get(message.key)
        if held is None or held[0] != plan.key_set:
            raise KeyMismatch(
                f"the evaluation keys {message.key} of this plan are not here; send them first"
            )
        return ServerRun(self._model, plan, held[1], message.key)

    def _prepare(self, plan: Plan, engine: ServerEngine) -> None:
        if plan.id not in self._prepared:
            program = program_for(plan, self._model.folded)
            prepare(engine, self._model.store(plan), plan, program)
            self._prepared.add(plan.id)
