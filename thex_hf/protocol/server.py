"""The server role: weights and evaluation keys, ciphertexts in and out, no secret key.

Nothing in this module can decrypt, and nothing it imports holds a secret key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from thex_hf.circuits.context import CircuitSteps, Handles
from thex_hf.circuits.dispatch import Folded, circuit_for, fold_weights
from thex_hf.circuits.parallel import SEQUENTIAL, ParallelRunner
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.shape import Packing
from thex_hf.ckks.engine import ServerEngine
from thex_hf.ckks.plaintext_cache import MemoryBound, PlaintextCache
from thex_hf.errors import PlanMismatch, WireError
from thex_hf.protocol.messages import Message
from thex_hf.weights import EncoderWeights


@dataclass
class ServedModel:
    """Weights, and their encoded diagonals shared by all runs of one key set.

    Args:
        weights: of the model.
        bound: of all encoded diagonals together.
    """

    weights: EncoderWeights
    bound: MemoryBound = field(default_factory=MemoryBound)
    _stores: dict[str, PlaintextCache] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._fingerprint = self.weights.fingerprint()

    @cached_property
    def folded(self) -> Folded:
        """The weights as circuits take them; the protocol ``prepared`` does not need them.

        Raises:
            PlanError: as :func:`~thex_hf.circuits.dispatch.fold_weights`.
        """
        return fold_weights(self.weights)

    def store(self, plan: Plan) -> PlaintextCache:
        """The plaintext store for the plan's parameters, geometry and levels."""
        shared = plan.protocol == "client-aided"  # its weights do not depend on the levels
        name = plan.key_set if shared else plan.id
        return self._stores.setdefault(name, PlaintextCache(self.bound))

    def require(self, plan: Plan) -> None:
        """Check that ``plan`` was made for these weights.

        Raises:
            PlanMismatch: it was made for another model.
        """
        if plan.model != self._fingerprint:
            raise PlanMismatch(
                f"the plan was made for model {plan.model[:12]}, this server has "
                f"{self._fingerprint[:12]}; load the same checkpoint on both sides"
            )


class ServerRun:
    """One text's way through the circuit: :meth:`start`, then :meth:`reply` until the answer."""

    def __init__(
        self,
        model: ServedModel,
        plan: Plan,
        engine: ServerEngine,
        key_id: str,
        runner: ParallelRunner = SEQUENTIAL,
    ) -> None:
        model.require(plan)
        self.plan = plan
        self.finished = False
        self._engine = engine
        self._key_id = key_id
        self._store = model.store(plan)
        self._runner = runner
        self._circuit = circuit_for(plan, model.folded, runner)
        self._steps: CircuitSteps | None = None
        self._run = ""
        self._step = 0

    def answer(self, data: bytes | Message) -> bytes:
        """Take whatever comes next: the request, then replies. Raises as both methods below."""
        return self.start(data) if self._steps is None else self.reply(data)

    def start(self, data: bytes | Message) -> bytes:
        """Take a request, or its bytes, and run to the first visit.

        Raises:
            WireError, PlanMismatch, KeyMismatch: the request is malformed or foreign.
        """
        if self._steps is not None:
            raise WireError("this run has started; a new request needs a new run")
        message = Message.of(data)
        message.require("request", self.plan.id, self._key_id)
        inputs = self._load(message, self.plan.schedule.inputs)
        steps = self._circuit(self._engine, self._store, inputs)
        self._run = message.run
        out = self._advance(lambda: next(steps))
        self._steps = steps
        return out

    def reply(self, data: bytes | Message) -> bytes:
        """Take the client's reply to the last visit and run to the next, or to the answer.

        A malformed reply is refused and changes nothing: the right one may still follow.

        Raises:
            WireError, PlanMismatch, KeyMismatch: the reply is not the one expected next.
        """
        steps = self._steps
        if steps is None or self.finished:
            raise WireError("no reply is expected: the run has not started or is finished")
        message = Message.of(data)
        message.require("reply", self.plan.id, self._key_id)
        if message.run != self._run or message.step != self._step:
            raise WireError(
                f"expected the reply to step {self._step} of this run, got step {message.step}"
            )
        visit = self.plan.schedule.round_trips[self._step]
        flat = self._load(message, tuple(p for part in visit.parts for p in part.returns))
        handles = iter(flat)
        reply = [[next(handles) for _ in part.returns] for part in visit.parts]
        self._step += 1
        out = self._advance(lambda: steps.send(reply))
        return out

    def _load(self, message: Message, packings: tuple[Packing, ...]) -> list[Handles]:
        message.require_counts([layout.ciphertexts for layout, _ in packings])
        out = []
        for (_, level), ciphertexts in zip(packings, message.parts, strict=True):
            handles = [self._engine.load(c) for c in ciphertexts]
            levels = {self._engine.level(a) for a in handles}
            if levels != {level}:
                raise WireError(f"expected ciphertexts at level {level}, got {sorted(levels)}")
            out.append(handles)
        return out

    def _advance(self, resume: Callable[[], list[Handles]]) -> bytes:
        try:
            sent, kind = resume(), "visit"
        except StopIteration as stop:
            sent, kind = [stop.value], "answer"
            self.finished = True
        finally:
            self._runner.collect()
        parts = [[self._engine.dump(a) for a in handles] for handles in sent]
        message = Message(kind, self.plan.id, self._key_id, self._run, self._step, parts)
        return message.to_bytes()
