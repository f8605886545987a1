"""A transport without a wire: client and server in one process, joined by bytes nevertheless."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from thex_hf._progress import progress
from thex_hf.backends.base import EvaluationKeys
from thex_hf.circuits.dispatch import batching_is_faster
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.protocols import PROTOCOL_FACTS
from thex_hf.circuits.shape import bucket
from thex_hf.prepared.plan import AnyPlan
from thex_hf.protocol.prepared_server import MemoryLedger
from thex_hf.serving.engine_cache import KeysName
from thex_hf.serving.fairness import ANYONE
from thex_hf.serving.runs import RunName, Runs
from thex_hf.serving.server import ThexServer


@dataclass(frozen=True)
class LocalPlans:
    """The plans of a server in this process, made when they are asked for.

    Args:
        server: whose they are.
    """

    server: ThexServer

    @property
    def protocol(self) -> str:
        """The server's."""
        return self.server.options.protocol

    @property
    def sizes(self) -> Sequence[int]:
        """The protocol's buckets."""
        return PROTOCOL_FACTS[self.protocol].buckets

    def size(self, tokens: int) -> int:
        """The bucket. Raises PlanError: too many tokens."""
        return bucket(tokens, self.sizes)

    def single(self, tokens: int) -> AnyPlan:
        """For one text. Raises PlanError: too many tokens, or no parameters carry the model."""
        return self.server.plan(self.size(tokens))

    def batch(self, tokens: int) -> Plan | None:
        """For many texts in one request, where the model allows it. Raises as :meth:`single`."""
        return self.server.batch_plan(self.size(tokens))

    def pays(self, tokens: int, texts: int, processes: int) -> bool:
        """Whether so many texts are expected sooner in batches, by what the circuits cost."""
        batch = self.batch(tokens)
        single = self.single(tokens)
        if batch is None or not isinstance(single, Plan):
            return False
        return batching_is_faster(batch, single, texts, processes)


@dataclass(eq=False)
class LocalTransport:
    """Carries messages to a server in this process, as :class:`thex_hf.client.transport.InMemory`.

    Args:
        server: that answers.
    """

    server: ThexServer
    _prepared: set[str] = field(init=False, default_factory=set)

    @property
    def plans(self) -> LocalPlans:
        """The server's plans."""
        return LocalPlans(self.server)

    def info(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self.server.info()

    def send_keys(self, data: bytes) -> str:
        """Have the server read a key file."""
        return self.server.take_keys(data)

    def hand_over(self, plan: AnyPlan, keys: EvaluationKeys) -> str:
        """Have the server make an engine of evaluation keys."""
        self.server.hold(KeysName(ANYONE, keys.key_id), plan, keys, keys.size)
        return keys.key_id

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """The server's answer."""
        return self.server.answer(data, keys, run=run)

    def give_up(self, keys: str, run: str) -> None:
        """Have a run forgotten."""
        self.server.runs.drop(RunName(ANYONE, keys, run))

    def beside(self) -> LocalTransport:
        """The same server with runs of its own, which two threads must not share."""
        server = copy.copy(self.server)
        server.runs = Runs()
        return LocalTransport(server)

    def note_jobs(self, batch: bytes, jobs: Sequence[int]) -> None:
        """Count jobs that children have begun, where this process has not seen them."""
        if not isinstance(self.server.tickets, MemoryLedger):
            return  # the children's writing is seen by all
        for job in jobs:
            self.server.tickets.begin(ANYONE, batch, job)

    def prepare(self, plan: AnyPlan, keys: str) -> float:
        """Have the weights of a plan encoded for one text, with a progress bar; the seconds.

        Those of a plan for many texts are encoded on the way: there are as many as it has products.
        """
        if not isinstance(plan, Plan) or plan.id in self._prepared or "packing" in plan.options:
            return 0.0
        begin = time.perf_counter()
        total = sum(count for (verb, _), count in plan.operations.items() if verb == "encode")
        with progress(total, "encoding weights") as bar:
            self.server.prepare(bar.update, plan.id, keys)
        self._prepared.add(plan.id)
        return time.perf_counter() - begin
