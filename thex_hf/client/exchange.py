"""Embeddings to logits on a server elsewhere: plans, keys, the conversation, and a second try."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thex_hf.backends.base import EvaluationKeys, SlotBackend
from thex_hf.backends.registry import get_backend
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.plan_reading import read_plan
from thex_hf.ckks.engine import ClientEngine, Vector
from thex_hf.client.plans import Own, check_alike
from thex_hf.client.transport import Transport
from thex_hf.errors import (
    ChildError,
    ConnectionLost,
    ExpiredError,
    InputError,
    KeyMismatch,
    KeyStoreError,
    OptionError,
    SecurityError,
    WireError,
)
from thex_hf.protocol import keyfile
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keyfile import KeyFile
from thex_hf.protocol.keys import KeyStore, key_request

MOST_PLANS = 16
KEYS_LOST = (KeyMismatch, KeyStoreError)
"""What keys are sent again for: the server has lost them, or cannot read them now."""
LOST = (ExpiredError, ChildError, ConnectionLost, *KEYS_LOST)
"""What a text may be sent again for: the server has lost its run, or its keys."""


@dataclass(frozen=True)
class Call:
    """One text's logits, and what they cost.

    Args:
        logits: ``(labels,)``, or ``(n, labels)`` of a classifier of tokens.
        plan: that it ran under; the server learns its bucket only.
        rounds: requests that were answered.
        bytes_up: sent, without keys.
        bytes_down: received.
        key_bytes: of the key file, sent once.
        keygen_seconds: of making and sending keys; 0 when that was done before.
        client_seconds: spent here.
        server_seconds: waited for the server, the way there and back included.
    """

    logits: Vector
    plan: Plan
    rounds: int
    bytes_up: int
    bytes_down: int
    key_bytes: int
    keygen_seconds: float
    client_seconds: float
    server_seconds: float


@dataclass
class _Keys:
    engine: ClientEngine
    key_id: str
    file: bytes = field(repr=False)
    name: str = ""  # what the server calls them, once it has them


@dataclass(eq=False)
class Caller:
    """Has texts classified by their embeddings.

    Args:
        server: what carries the bytes.
        keys: directory to keep keys in; in memory if None.
        backend: engine that encrypts. The client's choice: a server that could name another one
            would name one that encrypts nothing.
        tries: how often a text is sent before its error is raised, where the server lost it.
        pause: seconds before the second try, twice as many before the third.
        wanted: protocol that the server should run; None: whatever it does.

    Raises:
        WireError: the server's plans are none, or are of another version.
        PlanMismatch: they are not all of one model and protocol.
        OptionError: the server runs another protocol.
        SecurityError: the server asks for parameters below 128 bits, or for another engine.
    """

    server: Transport
    keys: Path | None = None
    backend: str = "seal"
    tries: int = 3
    pause: float = 1.0
    wanted: str | None = None
    info: Mapping[str, Any] = field(init=False, repr=False)
    plans: Mapping[int, Plan] = field(init=False, repr=False)
    _made: dict[str, _Keys] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Ask the server for its plans."""
        self.info = self.server.info()
        plans = [read_plan(plan) for plan in _plans_in(self.info)]
        self.plans = {plan.shape.tokens: plan for plan in sorted(plans, key=_tokens_of)}
        if not self.plans:
            raise WireError("the server has no plan for any length")
        check_alike(plans)
        if self.wanted not in (None, self.protocol):
            raise OptionError(
                f"the server runs the protocol {self.protocol}, not {self.wanted}; name that one, "
                f"or another server"
            )
        asked = str(self.info.get("backend"))[:64]
        if asked != self.backend:
            raise SecurityError(
                f"the server asks for backend {asked!r}, this client encrypts with "
                f"{self.backend!r} and nothing else"
            )
        self._backend: SlotBackend = get_backend(self.backend)
        self._store = None if self.keys is None else KeyStore(self.keys)
        self._lock = threading.Lock()

    @property
    def protocol(self) -> str:
        """The server's."""
        return next(iter(self.plans.values())).protocol

    @property
    def model(self) -> str:
        """Fingerprint of the server's encoder."""
        return next(iter(self.plans.values())).model

    def check(self, own: Own) -> None:
        """Refuse a server of another model than the client's.

        Raises:
            PlanMismatch: it has another encoder, other sizes or another number of labels.
        """
        for plan in self.plans.values():
            own.check(plan)

    def plan(self, tokens: int) -> Plan:
        """The smallest plan that takes ``tokens`` tokens.

        Raises:
            InputError: none does.
        """
        fitting = [plan for size, plan in self.plans.items() if tokens <= size]
        if not fitting:
            raise InputError(
                f"the text has {tokens} tokens, the server takes {max(self.plans)} at most; "
                f"shorten it"
            )
        return fitting[0]

    def run(self, embeddings: Vector) -> Call:
        """Classify one text from its embeddings ``(n, d)``; sent again where the server lost it.

        Raises:
            InputError: no bucket of the server takes it.
            ThexError: as the server and the protocol raise.
        """
        plan = self.plan(len(embeddings))
        for attempt in range(self.tries):
            try:
                return self._once(plan, embeddings)
            except LOST as error:
                with self._lock:
                    made = self._made.get(plan.key_set)
                    if made is None or attempt + 1 == self.tries:
                        raise  # None: the keys' folder on this side is to blame
                    if isinstance(error, KEYS_LOST):
                        made.name = ""
                time.sleep(self.pause * 2**attempt)
        raise AssertionError("unreachable")

    def _once(self, plan: Plan, embeddings: Vector) -> Call:
        keys, keygen = self._keys(plan)
        begin = time.perf_counter()
        run = ClientRun(plan, keys.engine, keys.key_id, embeddings)
        waited, up, down, rounds = 0.0, 0, 0, 0
        message: bytes | None = run.request()
        try:
            while message is not None:
                sent = time.perf_counter()
                reply = self.server.answer(message, keys.name, run.run)
                waited += time.perf_counter() - sent
                up, down, rounds = up + len(message), down + len(reply), rounds + 1
                message = run.receive(reply)
        except BaseException as error:
            if not isinstance(error, ExpiredError):  # else it may go on there
                self.server.give_up(keys.name, run.run)
            raise
        run.check()  # the server has done its part and sees no difference
        assert run.logits is not None
        spent = time.perf_counter() - begin - waited
        return Call(run.logits, plan, rounds, up, down, len(keys.file), keygen, spent, waited)

    def _keys(self, plan: Plan) -> tuple[_Keys, float]:
        """The keys of a plan, made and handed over where that is not done, and the seconds."""
        begin = time.perf_counter()
        with self._lock:
            fresh = plan.key_set not in self._made
            if fresh:
                self._made[plan.key_set] = self._make(plan)
            keys = self._made[plan.key_set]
            if not keys.name:
                keys.name, fresh = self.server.send_keys(keys.file), True
        return keys, time.perf_counter() - begin if fresh else 0.0

    def _make(self, plan: Plan) -> _Keys:
        name = self._backend.name
        pair = self._store.load(plan.key_set, name) if self._store else None
        if pair is None:
            pair = self._backend.generate(key_request(plan))
            if self._store:
                pair = self._store.save(plan.key_set, name, *pair)
        secret, evaluation = pair
        file = key_file(plan, name, evaluation)
        return _Keys(self._backend.client(plan.parameters, secret), evaluation.key_id, file)


def key_file(plan: Plan, backend: str, evaluation: EvaluationKeys) -> bytes:
    """Evaluation keys as a server takes them."""
    parts = {
        "relinearisation": evaluation.relinearisation,
        "rotations": evaluation.rotations,
        "public": evaluation.public,
    }
    return keyfile.to_bytes(KeyFile("evaluation", plan.key_set, backend, evaluation.key_id, parts))


def _tokens_of(plan: Plan) -> int:
    return plan.shape.tokens


def _plans_in(found: Any) -> list[Any]:
    plans = found.get("plans") if isinstance(found, Mapping) else None
    if not isinstance(plans, Mapping) or len(plans) > MOST_PLANS:
        raise WireError("the server did not send its plans; is it a thex_hf server?")
    return list(plans.values())
