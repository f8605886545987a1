"""Runs tokenised texts in one of the three modes, here or elsewhere, and writes their reports.

A text goes to the model as a :data:`Row`, without padding: no answer depends on what it is batched
with. Threads that share a pipeline take a :class:`Turn` each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thex_hf.backends.registry import find_backend, get_backend
from thex_hf.bounds import check_logits, check_room
from thex_hf.circuits.protocols import PROTOCOL_FACTS, learns_of
from thex_hf.circuits.shape import bucket
from thex_hf.ckks.engine import Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.client.exchange import Client
from thex_hf.client.http import open_transport
from thex_hf.client.plans import ModelFacts, ServerPlans
from thex_hf.errors import OptionError, TextError
from thex_hf.local.session import LocalSession
from thex_hf.local.simulation import PreparedSimulation
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier
from thex_hf.options import RunOptions, refill_without_tickets
from thex_hf.pipelines.report import Agreement, Bytes, Report, Seconds, compare
from thex_hf.prepared.plan import PROTOCOL as PREPARED
from thex_hf.protocol.engines import CircuitBackend, Session
from thex_hf.protocol.keys import KeyStore
from thex_hf.protocol.result import Outcome, Result
from thex_hf.tokens.tokenise import Tokens, embed_rows

INPUTS = ("input_ids", "attention_mask", "token_type_ids")

Row = Mapping[str, Tensor]
"""Tensors ``(1, n, ...)`` of one text's true tokens."""


def inputs_of(tokens: Tokens) -> dict[str, Tensor]:
    """A model's inputs, ``(1, n)`` each."""
    return {
        "input_ids": torch.tensor([tokens.ids]),
        "token_type_ids": torch.tensor([tokens.segments]),
        "attention_mask": torch.ones((1, len(tokens)), dtype=torch.long),
    }


@torch.no_grad()
def embed_row(model: ThexBertClassifier, row: Row) -> Vector:
    """Exact embeddings of a text's tokens, ``(n, d)``: the client's own work.

    The same numbers as :meth:`thex_hf.client.half.ClientHalf.embed` gives without torch.
    """
    block = model.thex_bert.embeddings
    block.check_length(row["input_ids"])
    ids = row["input_ids"][0].to(model.device)
    types = row.get("token_type_ids")
    tables = block.token_type_embeddings, block.position_embeddings
    if types is None or tables[0].num_embeddings == 1:
        kinds = torch.zeros_like(ids)
    else:
        kinds = types[0].to(model.device)
    project = block.embeddings_project
    return embed_rows(
        _array(block.word_embeddings.weight[ids]),
        _array(tables[0].weight[kinds]),
        _array(tables[1].weight[: len(ids)]),
        (_array(block.norm.weight), _array(block.norm.bias), block.norm.eps),
        None if project is None else (_array(project.weight), _array(project.bias)),
    )


def _array(values: Tensor) -> Any:
    return values.detach().float().cpu().numpy()


class Turn:
    """A lock, for use with ``with``; a copy of its owner gets one of its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Wait for one's turn."""
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it to the next."""
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is a new lock."""
        return type(self), ()


TOKENISING = Turn()
"""Of all tokenizers, which several pipelines may share: they change their state as they work."""


class Runner:
    """The client's clear half (embedding) and a session for each mode.

    Args:
        model: converted THE-X model.
        options: resolved for the model, with the protocol that is run: the server's, if there is
            one elsewhere; a whole-model backend is simulated too.
        remote: the client of a server elsewhere, for backend ``remote``.

    Raises:
        BackendUnavailable: no backend of that name.
        OptionError: a backend that does not encrypt was asked to execute.
        KeyStoreError: the key directory is a model's, or a file.
    """

    def __init__(
        self,
        model: ThexBertClassifier,
        options: RunOptions,
        remote: Client | None = None,
    ) -> None:
        self.model = model
        self._options = options
        self._remote = remote
        self._backend = get_backend("clear") if remote else find_backend(options.backend)
        self._plan_options = options.plan(model.config.softmax)
        self._keys = options.key_folder
        if self._keys is not None:
            KeyStore(self._keys)  # refuses a model folder now, not at the first text
        self._sessions: dict[str, Session] = {}
        self._mark: tuple[object, ...] = ()
        self._plain = model
        self._turn = Turn()

    def session(self, fhe: str) -> Session:
        """The session of mode ``execute`` or ``simulate``, made on first use.

        It has a copy of the weights: when the model's change, it is made anew.
        """
        with self._turn:
            mark = self.model.encoder_mark()
            if mark != self._mark:
                self._sessions.clear()
                self._plain = self.model.plain()  # with adapters merged, those of embeddings too
                self._mark = mark
            if fhe not in self._sessions:
                self._sessions[fhe] = self._open(fhe)
            return self._sessions[fhe]

    def _open(self, fhe: str) -> Session:
        simulate = fhe == "simulate"
        config = self.model.config
        if self._remote is not None and not simulate:
            check_model(self._remote, self.model)
            return self._remote
        if isinstance(self._backend, CircuitBackend):
            return self._backend.session(
                self.model.encoder_weights(),
                ranges=config.ranges,
                softmax=self._plan_options.softmax,
                relu=self._options.relu,
                encrypted=not simulate,
            )
        if not simulate and self._options.backend == "clear":
            raise OptionError(
                "backend 'clear' encrypts nothing; use fhe='simulate' for it, or another backend"
            )
        if simulate and self._plan_options.protocol == PREPARED:
            weights = self.model.encoder_weights()
            return PreparedSimulation(weights, self._plan_options.softmax)
        return LocalSession(
            self.model.encoder_weights(),
            get_backend("clear") if simulate else self._backend,
            self._plan_options,
            ranges=config.ranges,
            keys=None if simulate else self._keys,
            processes=self._options.processes,
            refill=self._options.refill,
            plaintext_bytes=self._options.plaintext_bytes,
        )

    @property
    def longest(self) -> int:
        """The most tokens that the circuit takes, or the server elsewhere."""
        if self._remote is None:
            return PROTOCOL_FACTS[self._plan_options.protocol].buckets[-1]
        plans = self._remote.plans
        assert isinstance(plans, ServerPlans)
        return plans.longest

    @property
    def learns(self) -> str:
        """What each side learns."""
        if isinstance(self._backend, CircuitBackend):
            return self._backend.learns
        return learns_of(self._plan_options.protocol, self.model.config.form)

    def _engine(self, fhe: str) -> str:
        """Name of the engine that runs a mode."""
        if fhe == "disable":
            return "torch"
        slots = not isinstance(self._backend, CircuitBackend)
        return "clear" if slots and fhe == "simulate" else self._options.backend

    def run(self, rows: Sequence[Row], *, fhe: str, agreement: bool) -> list[Report | TextError]:
        """Classify tokenised texts, each a batch of one; several run side by side.

        Any thread may call it. Sessions in this process take one call after the other: each uses
        all processes that it may.

        Returns:
            For each text its report, or the error of a text that cannot be served.

        Raises:
            ThexError: of other kinds, which end the call.
        """
        self.model.eval()  # one that is being trained would drop values at random
        answers: Sequence[Outcome | None] = [None] * len(rows)
        if fhe != "disable":
            answers = self._answers(rows, fhe)
        return [
            self._finish(row, answer, fhe, agreement)
            for row, answer in zip(rows, answers, strict=True)
        ]

    def _answers(self, rows: Sequence[Row], fhe: str) -> Sequence[Outcome]:
        session = self.session(fhe)
        embedded = [embed_row(self._plain, row) for row in rows]
        with nullcontext() if session is self._remote else self._turn:
            if len(embedded) > 1:
                return session.run_many(embedded)
            try:  # a single text has all processes to itself
                return [session.run(embedded[0])]
            except TextError as error:
                return [error]

    def _finish(
        self, row: Row, answer: Outcome | None, fhe: str, agreement: bool
    ) -> Report | TextError:
        """The report of one text. A result that must not be believed is refused here.

        Args:
            row: the text.
            answer: of the session; None: there was none, the clear model runs now.
            fhe: the mode.
            agreement: compare with the clear model.
        """
        if isinstance(answer, TextError):
            return answer
        try:
            report = self._clear_report(row) if answer is None else self._report(row, answer, fhe)
            calibration = self.model.config.calibration
            parameters = None if answer is None else getattr(answer.plan, "parameters", None)
            if isinstance(parameters, Parameters):  # of a circuit on slots
                check_room(calibration, parameters.room)
            check_logits(np.asarray(report.logits), calibration, fhe)
            return replace(report, agreement=self._compare(row, report)) if agreement else report
        except TextError as error:
            return error

    def refused(self, error: TextError, fhe: str) -> Report:
        """The report of a text that has no answer."""
        protocol = self._plan_options.protocol
        return Report([], 0, 0, protocol, self._engine(fhe), fhe, error=str(error))

    @torch.no_grad()
    def clear(self, row: Row) -> Vector:
        """The clear model's logits, ``(labels,)`` or ``(n tokens, labels)``."""
        given = {name: row[name].to(self.model.device) for name in INPUTS if name in row}
        logits = self.model(**given, return_dict=True).logits[0]
        return np.asarray(logits.cpu().double().numpy())

    def _report(self, row: Row, result: Result, fhe: str) -> Report:
        facts = result.plan.facts
        return Report(
            logits=result.logits.tolist(),
            tokens=row["input_ids"].shape[1],
            bucket=facts.bucket,
            protocol=self._plan_options.protocol,
            backend=self._engine(fhe),
            fhe=fhe,
            seconds=Seconds(
                keygen=result.keygen_seconds,
                prepare=result.prepare_seconds,
                client=result.client_seconds,
                server=result.server_seconds,
            ),
            rounds=result.rounds,
            bytes=Bytes()
            if fhe == "simulate"
            else Bytes(
                result.key_bytes,
                result.bytes_up,
                result.bytes_down,
                result.prepare_bytes_up,
                result.prepare_bytes_down,
            ),
            levels=facts.levels,
            key_switches=facts.key_switches,
            batch=result.batch,
            ring_degree=facts.ring_degree,
            modulus_bits=facts.modulus_bits,
            tickets=result.tickets_left,
            wraps=result.wraps,
        )

    def _clear_report(self, row: Row) -> Report:
        begin = time.perf_counter()
        logits = self.clear(row)
        tokens = row["input_ids"].shape[1]
        return Report(
            logits=logits.tolist(),
            tokens=tokens,
            bucket=bucket(tokens, PROTOCOL_FACTS[self._plan_options.protocol].buckets),
            protocol=self._plan_options.protocol,
            backend=self._engine("disable"),
            fhe="disable",
            seconds=Seconds(client=time.perf_counter() - begin),
        )

    def _compare(self, row: Row, report: Report) -> Agreement:
        special = row.get("special_tokens_mask")
        encrypted = np.asarray(report.logits)
        marks = None if special is None else special[0].tolist()
        return compare(self.clear(row), encrypted, self.model.config, marks)


def ticket_client(model: ThexBertClassifier, options: RunOptions) -> Client:
    """The client that prepares tickets for a model, of a server elsewhere or in this process.

    Args:
        model: the whole model, of the polynomial form.
        options: resolved for it, with protocol ``prepared``.

    Raises:
        ThexError: as :class:`Runner`, and as :func:`remote_client` for a server elsewhere.
    """
    if options.remote:
        return remote_client(options, model)
    session = Runner(model, options).session("execute")
    assert isinstance(session, LocalSession)
    return session.client


def remote_client(options: RunOptions, model: ThexBertClassifier) -> Client:
    """The client of a server elsewhere.

    Args:
        options: where it is, the protocol that it should serve, where keys are kept.
        model: the whole model, which should be the server's.

    Raises:
        ConnectionLost: no server there.
        PlanMismatch: it serves another model.
        OptionError: it serves another protocol.
    """
    verify = True if options.verify is None else options.verify
    transport = open_transport(str(options.url), options.server_token, verify=verify)
    client = Client(transport, options.key_folder, wanted=options.protocol, refill=options.refill)
    if options.refill is not None and client.protocol != PREPARED:
        raise refill_without_tickets(client.protocol)
    check_model(client, model)
    return client


def check_model(client: Client, model: ThexBertClassifier) -> None:
    """Refuse another model than the server's. Raises PlanMismatch, ConversionError."""
    assert isinstance(client.plans, ServerPlans)
    client.plans.check(ModelFacts.of(model.encoder_weights()))
