"""A client: keys, embeddings, and the conversation with a server; no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thex_hf.backends.base import EvaluationKeys
from thex_hf.backends.registry import get_backend
from thex_hf.client.half import ClientHalf
from thex_hf.client.transport import Transport
from thex_hf.encrypted.plan import Plan
from thex_hf.encrypted.reading import read_plan
from thex_hf.errors import InputError, WireError
from thex_hf.layout.engines import ClientEngine, Vector
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import KeyStore
from thex_hf.protocol.session import key_request


@dataclass(frozen=True)
class Answer:
    """One text's logits, and what they cost.

    Args:
        logits: ``(labels,)``, or ``(n, labels)`` of a classifier of tokens.
        tokens: of the text; the server learns ``bucket`` only.
        bucket: padded length.
        rounds: requests that were answered.
        bytes_up: sent, without keys.
        bytes_down: received.
        key_bytes: of the evaluation keys, sent once.
        client_seconds: spent here.
        server_seconds: waited for the server, the way there and back included.
    """

    logits: Vector
    tokens: int
    bucket: int
    rounds: int
    bytes_up: int
    bytes_down: int
    key_bytes: int
    client_seconds: float
    server_seconds: float


@dataclass(frozen=True)
class _Keys:
    engine: ClientEngine
    evaluation: EvaluationKeys


@dataclass(eq=False)
class ThexClient:
    """Classifies texts on a server that never sees them.

    Args:
        half: tokenizer and embeddings of the model.
        server: what carries the bytes.
        keys: directory to keep keys in; in memory if None.

    Raises:
        WireError: the server's plans are none, or are of another version.
        SecurityError: the server asks for parameters below 128 bits.
    """

    half: ClientHalf
    server: Transport
    keys: Path | None = None
    plans: Mapping[int, Plan] = field(init=False, repr=False)
    _made: dict[str, _Keys] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Ask the server for its plans."""
        found = self.server.info()
        plans = [read_plan(plan) for plan in _plans_in(found)]
        self.plans = {plan.shape.tokens: plan for plan in sorted(plans, key=_tokens_of)}
        if not self.plans:
            raise WireError("the server has no plan for any length")
        for plan in plans:
            if plan.shape.hidden != self.half.hidden:
                raise WireError(
                    f"the server's model has embeddings of size {plan.shape.hidden}, the client's "
                    f"half {self.half.hidden}; they are of different models"
                )
        self._backend = get_backend(str(found.get("backend")))
        self._store = None if self.keys is None else KeyStore(self.keys)

    def classify(self, text: str, pair: str | None = None) -> Answer:
        """Tokenise, embed, encrypt, answer the server's visits, decrypt.

        Raises:
            InputError: no text, or one that no bucket of the server takes.
            ThexError: as the server and the protocol raise.
        """
        begin = time.perf_counter()
        embeddings = self.half.embed(*self.half.tokenise(text, pair))
        plan = self.plan(len(embeddings))
        keys = self._keys(plan)
        run = ClientRun(plan, keys.engine, keys.evaluation.key_id, embeddings)
        waited, down, rounds = 0.0, 0, 0
        message: bytes | None = run.request()
        up = 0
        while message is not None:
            sent = time.perf_counter()
            reply = self.server.answer(message)
            waited += time.perf_counter() - sent
            up, down, rounds = up + len(message), down + len(reply), rounds + 1
            message = run.receive(reply)
        assert run.logits is not None
        return Answer(
            run.logits,
            len(embeddings),
            plan.shape.tokens,
            rounds,
            up,
            down,
            keys.evaluation.size,
            time.perf_counter() - begin - waited,
            waited,
        )

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

    def _keys(self, plan: Plan) -> _Keys:
        """The keys of a plan, made and handed over where that is not done."""
        if plan.key_set not in self._made:
            self._made[plan.key_set] = self._make(plan)
        keys = self._made[plan.key_set]
        if not self.server.has_keys(keys.evaluation.key_id):
            self.server.take_keys(plan.key_set, keys.evaluation)
        return keys

    def _make(self, plan: Plan) -> _Keys:
        name = self._backend.name
        pair = self._store.load(plan.key_set, name) if self._store else None
        if pair is None:
            pair = self._backend.generate(key_request(plan))
            if self._store:
                self._store.save(plan.key_set, name, *pair)
        secret, evaluation = pair
        return _Keys(self._backend.client(plan.parameters, secret), evaluation)


def _tokens_of(plan: Plan) -> int:
    return plan.shape.tokens


def _plans_in(found: Any) -> list[Any]:
    plans = found.get("plans") if isinstance(found, Mapping) else None
    if not isinstance(plans, Mapping) or len(plans) > 16:
        raise WireError("the server did not send its plans; is it a thex_hf server?")
    return list(plans.values())
