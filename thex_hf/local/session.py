"""Both roles on one machine: the client of any server, and a server in the same process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thex_hf.backends.base import SlotBackend
from thex_hf.circuits.parallel import runner_for
from thex_hf.circuits.plan import Planned
from thex_hf.circuits.protocols import DEFAULT_OPTIONS, PlanOptions
from thex_hf.ckks.engine import Vector
from thex_hf.client.exchange import Client
from thex_hf.client.spreading import Children, Classify, Threads
from thex_hf.local.transport import LocalTransport
from thex_hf.prepared.plan import PROTOCOL as PREPARED
from thex_hf.prepared.plan import AnyPlan
from thex_hf.processes import can_fork, check_processes, usable_cores
from thex_hf.protocol.prepared_server import MemoryLedger, TicketLedger
from thex_hf.protocol.result import Outcome, Result
from thex_hf.serving.engine_cache import EngineCache
from thex_hf.serving.server import ThexServer
from thex_hf.serving.ticket_places import FolderLedger
from thex_hf.serving.tickets import TicketLimits
from thex_hf.weights import EncoderWeights

NEVER, TEXTS, PIECES = "never", "texts", "pieces"
"""What a backend's attribute ``forks`` may say; see ``docs/adding_a_backend.md``."""

SERVER = "server"
"""Folder beside the client's keys, for what a server elsewhere would keep."""
MOST_KEPT = 1 << 16
"""Batches of tickets on this machine: memory and disk are the user's own."""


def process_count(backend: SlotBackend, processes: int | None, *, pieces: bool) -> int:
    """How many processes to use.

    Args:
        backend: its ``forks`` says what children may do; without it, nothing.
        processes: what the user asks for; None: the usable cores.
        pieces: for pieces of one text, otherwise for whole texts.
    """
    forks = getattr(backend, "forks", NEVER)
    if forks not in ((PIECES,) if pieces else (TEXTS, PIECES)) or not can_fork():
        return 1
    return processes or usable_cores()


@dataclass(frozen=True)
class _Side:
    """Whole requests in children; a single one has its pieces computed side by side instead."""

    server: ThexServer
    processes: int
    pieces: int

    def run(self, plans: Sequence[Planned], classify: Classify) -> list[Outcome]:
        """See :meth:`thex_hf.client.spreading.Spread.run`."""
        self.server.runner = runner_for(self.pieces if len(plans) == 1 else 1)
        return Children(self.processes).run(plans, classify)


def _ledger(keys: Path | None, protocol: str) -> TicketLedger:
    """Where the server's half of the tickets is kept: as long as the client's."""
    if keys is None or protocol != PREPARED:
        return MemoryLedger(MOST_KEPT)
    limits = TicketLimits(keys=MOST_KEPT, total=MOST_KEPT, seconds=math.inf)
    return FolderLedger(keys / SERVER, limits=limits)


class LocalSession:
    """Runs texts through the protocol in this process, by a :attr:`client` and a :attr:`server`.

    Args:
        weights: the converted encoder.
        backend: the slot backend to run on.
        options: of the plans, as :class:`~thex_hf.serving.server.ThexServer` takes them.
        ranges: calibrated ranges of the checkpoint, see
            :func:`thex_hf.circuits.client_aided.planner.range_bits`.
        keys: directory to keep keys in, and tickets with the server's half of them, in a folder
            ``server``; None keeps them in memory.
        processes: how many to use, this one included, where the backend allows it; None: as
            many as there are usable cores.
        packing: ``text`` sends every text in a request of its own, ``batch`` puts many into
            one where protocol and model allow it (:func:`thex_hf.circuits.dispatch.can_batch`;
            else it is as ``text``), ``auto`` does what is expected to be faster.
        refill: of tickets, see :class:`~thex_hf.client.supply.TicketSupply`.
        plaintext_bytes: that encoded weights may take, see
            :class:`~thex_hf.serving.server.ThexServer`.

    Raises:
        PlanError: the model's form does not fit the protocol.
        OptionError: ``processes`` is less than one, or a packing that is not on offer.
    """

    def __init__(
        self,
        weights: EncoderWeights,
        backend: SlotBackend,
        options: PlanOptions = DEFAULT_OPTIONS,
        *,
        ranges: Sequence[Mapping[str, float]] | None = None,
        keys: Path | None = None,
        processes: int | None = None,
        packing: str = "auto",
        refill: int | None = None,
        plaintext_bytes: float | None = None,
    ) -> None:
        self.backend = backend
        self._processes = check_processes(processes)
        self.server = ThexServer(
            weights,
            backend,
            ranges,
            options,
            buckets=(),
            engines=EngineCache(most_bytes=math.inf),
            plaintext_bytes=plaintext_bytes,
            tickets=_ledger(keys, options.protocol),
        )
        self.client = Client(
            LocalTransport(self.server),
            keys,
            backend,
            tries=1,
            packing=packing,
            processes=self._processes,
            refill=refill,
        )

    def plan(self, tokens: int) -> AnyPlan:
        """The plan for a text of ``tokens`` tokens (of its bucket, in fact).

        Raises:
            PlanError: too many tokens, or the model fits no parameters.
        """
        return self.client.plan(tokens)

    def run(self, embeddings: Vector) -> Result:
        """Classify one text from its embeddings ``(tokens, d)``.

        Raises:
            ThexError: as the plan, the keys and the roles raise.
        """
        pieces = process_count(self.backend, self._processes, pieces=True)
        self.server.runner = runner_for(pieces)
        return self.client.run(embeddings)

    def run_many(self, embeddings: Sequence[Vector], processes: int | None = None) -> list[Outcome]:
        """Classify several texts, each from its embeddings ``(tokens, d)``.

        Texts of one bucket share a request where that pays; requests run side by side. Keys
        and weights are made here, before any child; children share them.

        Args:
            embeddings: one array for each text.
            processes: how many children; None: what the session was made with.

        Returns:
            In the order of the texts a result, or the error of a text that cannot be served.
            One-time costs stand in the first result that needed them.

        Raises:
            ThexError: as :meth:`run`, if it is about more than one text.
        """
        wanted = check_processes(processes) or self._processes
        if self.server.options.protocol == PREPARED:  # children would spend the same tickets
            return self.client.run_many(embeddings, Threads(1))
        side = process_count(self.backend, wanted, pieces=False)
        pieces = process_count(self.backend, wanted, pieces=True)
        return self.client.run_many(embeddings, _Side(self.server, side, pieces))
