"""Embeddings to logits: keys, the exchange of messages with a server, and a second try."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from thex_hf.backends.base import SlotBackend
from thex_hf.backends.registry import get_backend
from thex_hf.circuits.plan import Plan
from thex_hf.ckks.engine import Vector
from thex_hf.client.keys import Keys, client_engine, generated
from thex_hf.client.plans import Plans, ServerPlans
from thex_hf.client.preparation import Prepared
from thex_hf.client.spreading import AT_ONCE, Spread, Threads, check_packing
from thex_hf.client.supply import TicketSupply
from thex_hf.client.tickets import TicketStock
from thex_hf.client.transport import InMemory, Transport
from thex_hf.errors import (
    ChildError,
    ConnectionLost,
    ExpiredError,
    KeyMismatch,
    KeyStoreError,
    OptionError,
    RangeError,
    SecurityError,
    TextError,
    TicketError,
)
from thex_hf.prepared.plan import AnyPlan, PreparedPlan
from thex_hf.protocol.client import (
    BatchClientRun,
    ClientRun,
    Talk,
    check_embeddings,
    exchange,
)
from thex_hf.protocol.keys import KeyStore
from thex_hf.protocol.prepared_client import WRAPS, PreparedClientRun
from thex_hf.protocol.result import Outcome, Result, outcomes_of

logger = logging.getLogger(__name__)

KEYS_LOST = (KeyMismatch, KeyStoreError)
"""What keys are sent again for: the server has lost them, or cannot read them now."""
LOST = (ExpiredError, ChildError, ConnectionLost, TicketError, *KEYS_LOST)
"""What a text may be sent again for: the server has lost its run, or its keys."""
FOREVER = 1e12
"""Seconds: a server that says more keeps tickets for good."""


@dataclass(frozen=True)
class _Once:
    """Seconds that were spent once, for all that follows."""

    keygen: float
    prepare: float


@dataclass(eq=False)
class Client:
    """Has texts classified by their embeddings, by a server near or far.

    :attr:`info` is what the server says of itself, :attr:`made` has the keys by key set.

    Args:
        server: what carries the bytes.
        keys: directory to keep keys in; in memory if None.
        backend: engine that encrypts, or its name. The client's choice: a server that could name
            another one would name one that encrypts nothing.
        tries: how often a text is sent before its error is raised, where the server lost it.
        pause: seconds before the second try, twice as many before the third.
        wanted: protocol that the server should run; None: whatever it does.
        packing: ``text`` sends every text in a request of its own, ``batch`` puts many into one
            where the server takes that, ``auto`` does what is expected to be faster.
        spread: how requests go side by side.
        processes: that prepare tickets, where the server is in this process; None: as many as there
            are usable cores.
        refill: of tickets, see :class:`~thex_hf.client.supply.TicketSupply`.

    Raises:
        WireError: the server's plans are none, or are of another version.
        PlanMismatch: they are not all of one model and protocol.
        OptionError: the server runs another protocol; or no such packing.
        SecurityError: the server asks for parameters below 128 bits, or for another engine.
    """

    server: Transport
    keys: Path | None = None
    backend: str | SlotBackend = "seal"
    tries: int = 3
    pause: float = 1.0
    wanted: str | None = None
    packing: str = "auto"
    spread: Spread = field(default_factory=lambda: Threads(AT_ONCE), repr=False)
    processes: int | None = None
    refill: int | None = None
    info: Mapping[str, Any] = field(init=False, repr=False)
    plans: Plans = field(init=False, repr=False)
    made: dict[str, Keys] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Ask the server for its plans."""
        check_packing(self.packing)
        self._engines = get_backend(self.backend) if isinstance(self.backend, str) else self.backend
        self._store = None if self.keys is None else KeyStore(self.keys)
        self._lock = threading.Lock()
        if isinstance(self.server, InMemory):
            self.info, self.plans = {}, self.server.plans
        else:
            self.info = self.server.info()
            self.plans = ServerPlans.read(self.info)
            self._check_server()
        most, lifetime = self.info.get("ticket_batches"), self.info.get("ticket_seconds", 0)
        lasting = type(lifetime) in (int, float) and 0 < lifetime < FOREVER
        self._tickets = TicketSupply(
            self.server,
            self.plans,
            self.keys,
            self.processes,
            self.refill,
            most if type(most) is int and most > 0 else None,
            float(lifetime) if lasting else math.inf,
        )

    def _check_server(self) -> None:
        if self.wanted not in (None, self.protocol):
            raise OptionError(
                f"the server runs the protocol {self.protocol}, not {self.wanted}; name that one, "
                f"or another server"
            )
        asked = str(self.info.get("backend"))[:64]
        if asked != self._engines.name:
            raise SecurityError(
                f"the server asks for backend {asked!r}, this client encrypts with "
                f"{self._engines.name!r} and nothing else"
            )

    @property
    def protocol(self) -> str:
        """The server's."""
        return self.plans.protocol

    def plan(self, tokens: int) -> AnyPlan:
        """The plan for a text of ``tokens`` tokens (of its bucket, in fact).

        Raises:
            InputError, PlanError: too many tokens, or the model fits no parameters.
        """
        return self.plans.single(tokens)

    def run(self, embeddings: Vector) -> Result:
        """Classify one text from its embeddings ``(n, d)``; sent again where the server lost it.

        Raises:
            InputError: no bucket of the server takes it, or they are no embeddings of its model.
            ThexError: as the server and the protocol raise.
        """
        plan = self.plan(len(embeddings))
        check_embeddings(plan, embeddings)
        return self._run(plan, [embeddings], batch=False)

    def run_many(self, embeddings: Sequence[Vector], spread: Spread | None = None) -> list[Outcome]:
        """Classify several texts, each from its embeddings ``(n, d)``.

        Texts of one bucket share a request where the server takes that and it pays; requests go
        side by side. Keys and weights are made here, before any child; children share them.

        Args:
            embeddings: one array for each text.
            spread: how requests go side by side; None: as the client was made.

        Returns:
            In the order of the texts a result, or the error of a text that cannot be served.
            One-time costs stand in the first result that needed them.

        Raises:
            ThexError: as :meth:`run`, if it is about more than one text.
        """
        spread = spread or self.spread
        outcomes: dict[int, Outcome] = self._refused(embeddings)
        able = [index for index in range(len(embeddings)) if index not in outcomes]
        lengths = [len(embeddings[index]) for index in able]
        requests = [
            (plan, [able[place] for place in places], batch)
            for plan, places, batch in self.requests(lengths, spread.processes)
        ]
        once = [self._prepare(plan)[1] for plan, _, _ in requests]

        def classify(number: int) -> Result:
            plan, texts, batch = requests[number]
            return self._run(plan, [embeddings[index] for index in texts], batch=batch)

        results = spread.run([plan for plan, _, _ in requests], classify)
        for (_, texts, batch), spent, result in zip(requests, once, results, strict=True):
            outcome = result if isinstance(result, TextError) else _with_costs(result, spent)
            outcomes |= zip(texts, outcomes_of(outcome, texts, batch=batch), strict=True)
        return [outcomes[index] for index in range(len(embeddings))]

    def _refused(self, embeddings: Sequence[Vector]) -> dict[int, Outcome]:
        """The texts that no request can take, and why."""
        refused: dict[int, Outcome] = {}
        for index, text in enumerate(embeddings):
            try:
                check_embeddings(self.plan(len(text)), text)
            except TextError as error:
                refused[index] = error
        return refused

    def requests(
        self, lengths: Sequence[int], processes: int = 1
    ) -> list[tuple[AnyPlan, list[int], bool]]:
        """What would go into each request: its plan, the texts, and whether they are a batch.

        Args:
            lengths: of the texts, in tokens.
            processes: that compute side by side.

        Raises:
            InputError, PlanError: there is no plan for a text.
        """
        groups: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            groups.setdefault(self.plans.size(length), []).append(index)
        requests: list[tuple[AnyPlan, list[int], bool]] = []
        for size, texts in groups.items():
            batch = self._batch_plan(size, len(texts), processes)
            plan = batch or self.plan(size)
            most = plan.options["sentences"] if batch else 1
            parts = [texts[start : start + most] for start in range(0, len(texts), most)]
            requests += [(plan, part, batch is not None) for part in parts]
        return requests

    def _batch_plan(self, size: int, texts: int, processes: int) -> Plan | None:
        """The plan to put ``texts`` texts of one bucket into one request; None: do not."""
        if self.packing == "text" or (texts == 1 and self.packing == "auto"):
            return None
        plan = self.plans.batch(size)
        if plan is None or self.packing == "batch":
            return plan
        return plan if self.plans.pays(size, texts, processes) else None

    def _run(self, plan: AnyPlan, texts: Sequence[Vector], *, batch: bool) -> Result:
        """One request, again where the server lost it."""
        arrays = [np.asarray(text, np.float64) for text in texts]
        for attempt in range(self.tries):
            try:
                keys, once = self._prepare(plan)
                if isinstance(plan, PreparedPlan):
                    result = self._with_ticket(plan, keys, arrays[0])
                else:
                    about = (plan, keys.engine, keys.key_id)
                    result = self._exchange(
                        BatchClientRun(*about, arrays) if batch else ClientRun(*about, arrays[0]),
                        keys,
                    )
                return _with_costs(result, once)
            except LOST as error:
                with self._lock:
                    made = self.made.get(plan.key_set)
                    if made is None or attempt + 1 == self.tries:
                        raise  # None: the keys' folder on this side is to blame
                    if isinstance(plan, PreparedPlan) and self._tickets.out_of_tickets(
                        plan, made.key_id
                    ):
                        raise
                    if isinstance(error, KEYS_LOST):
                        made.name = ""
                time.sleep(self.pause * 2**attempt)
        raise AssertionError("unreachable")

    def stock(self, plan: PreparedPlan) -> TicketStock:
        """The tickets for a plan. Raises as :meth:`run`."""
        return self._tickets.stock(plan, self.keys_for(plan).key_id)

    def prepare_tickets(self, plan: PreparedPlan, processes: int | None = None) -> Prepared:
        """Prepare a batch of tickets. Raises as :func:`.preparation.prepare_batch`."""
        return self._tickets.prepare(plan, self.keys_for(plan), processes)

    def wait_for_tickets(self) -> None:
        """Wait for those that are being prepared ahead of need."""
        self._tickets.wait()

    def _with_ticket(self, own: PreparedPlan, keys: Keys, text: Vector) -> Result:
        """One text by a ticket; where a number wraps around, by another."""
        spent = 0.0
        for wraps in range(WRAPS + 1):
            plan, ticket, seconds = self._tickets.take(own, keys)
            stock, spent = self._tickets.stock(plan, keys.key_id), spent + seconds
            try:
                result = self._exchange(PreparedClientRun(plan, keys.key_id, ticket, text), keys)
            except TicketError:
                if lost := stock.drop(ticket.batch):
                    logger.warning(
                        "the server no longer has a batch of tickets: the %d left of it are lost",
                        lost,
                    )
                raise
            except RangeError:
                if wraps == WRAPS:
                    raise
                logger.info("a number wrapped around: taking another ticket")
                continue
            return replace(
                result,
                prepare_seconds=result.prepare_seconds + spent,
                prepare_bytes_up=ticket.bytes_up,
                prepare_bytes_down=ticket.bytes_down,
                tickets_left=stock.left(),
                wraps=wraps,
            )
        raise AssertionError("unreachable")

    def _exchange(self, conversation: Talk, keys: Keys) -> Result:
        """One request's messages; a run that ends half way is given up."""
        name, run = keys.name, conversation.run
        try:
            result = exchange(conversation, partial(self.server.answer, keys=name, run=run))
        except BaseException as error:
            if conversation.logits is None and not isinstance(error, ExpiredError):
                self.server.give_up(name, run)
            raise
        return replace(result, key_bytes=keys.size)

    def keys_for(self, plan: AnyPlan) -> Keys:
        """The keys of a plan, made and handed over if they are not. Raises as :meth:`run`."""
        return self._prepare(plan)[0]

    def _prepare(self, plan: AnyPlan) -> tuple[Keys, _Once]:
        """What a plan needs: keys on both sides, encoded weights; and the seconds that took."""
        begin = time.perf_counter()
        with self._lock:
            fresh = plan.key_set not in self.made
            if fresh:
                self.made[plan.key_set] = self.make_keys(plan)
            keys = self.made[plan.key_set]
            if not keys.name:
                keys.name, fresh = self._hand_over(plan, keys), True
        keygen = time.perf_counter() - begin if fresh else 0.0
        if isinstance(self.server, InMemory):
            return keys, _Once(keygen, self.server.prepare(plan, keys.name))
        return keys, _Once(keygen, 0.0)

    def make_keys(self, plan: AnyPlan) -> Keys:
        """Keys of a plan, which no server has yet: those on disk, or new ones.

        Raises:
            ThexError: as the backend and the key store raise.
        """
        name = self._engines.name
        pair = self._store.load(plan.key_set, name) if self._store else None
        if pair is None:
            pair = generated(plan, self._engines)
            if self._store:
                pair = self._store.save(plan.key_set, name, *pair)
        secret, evaluation = pair
        engine = client_engine(plan, self._engines, secret)
        return Keys(engine, plan.key_set, name, evaluation.key_id, evaluation.size, evaluation)

    def _hand_over(self, plan: AnyPlan, keys: Keys) -> str:
        if isinstance(self.server, InMemory):
            assert keys.evaluation is not None
            name = self.server.hand_over(plan, keys.evaluation)
            keys.evaluation = None  # it can be large, and is never lost
            return name
        file = keys.file
        keys.size = len(file)
        return self.server.send_keys(file)


def _with_costs(result: Result, once: _Once) -> Result:
    """With what was spent once added to it."""
    return replace(
        result,
        keygen_seconds=result.keygen_seconds + once.keygen,
        prepare_seconds=result.prepare_seconds + once.prepare,
    )
