"""The visitors of the page, each with keys of their own, and the models and servers they share."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from thex_hf.backends.registry import get_backend, list_backends
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.protocols import (
    MODEL_FORMS,
    PROTOCOL_FACTS,
    PROTOCOLS,
    PlanOptions,
    protocols_of,
)
from thex_hf.ckks.engine import Vector
from thex_hf.client.exchange import Client
from thex_hf.client.half import ClientHalf, Ids
from thex_hf.client.preparation import Prepared
from thex_hf.client.tickets import TicketStock
from thex_hf.demo.recording import LockedServer, RecordingBackend, RecordingTransport, public_facts
from thex_hf.demo.view import Prediction, Seconds, Update, ViewState
from thex_hf.errors import InputError, ThexError
from thex_hf.modeling import ThexBertClassifier
from thex_hf.modeling.opening import open_model
from thex_hf.prepared.plan import PROTOCOL as PREPARED
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.protocol.result import Result
from thex_hf.serving.server import ThexServer

MOST_SESSIONS = 8
REFRESH_SECONDS = 0.25  # seconds between two view states
Changes = Mapping[str, Any]


@dataclass(frozen=True)
class DemoModel:
    """One model: its client half, and the whole of it in clear."""

    half: ClientHalf
    model: ThexBertClassifier

    def predict(self, ids: Ids, types: Ids) -> Prediction:
        """The answer of the model in clear, which no server computes outside this page."""
        with torch.no_grad():
            logits = self.model(
                input_ids=torch.from_numpy(ids)[None],
                token_type_ids=torch.from_numpy(types)[None],
                return_dict=True,
            ).logits[0]
        values = logits.double().numpy()
        return Prediction.of(values, self.half.config)


@dataclass(eq=False)
class Servers:
    """Models and servers, made when first asked for.

    Args:
        folders: a model's folder for each form.

    Raises:
        InputError: forms that there are not, or a model that classifies tokens.
        ConversionError: a folder without a THE-X model in it.
    """

    folders: Mapping[str, Path]
    _models: dict[str, DemoModel] = field(init=False, default_factory=dict)
    _servers: dict[tuple[str, str], LockedServer] = field(init=False, default_factory=dict)
    _encoded: set[tuple[str, str]] = field(init=False, default_factory=set)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Load the models, so that a wrong one is refused at the start."""
        if not self.folders or not set(self.folders) <= set(MODEL_FORMS):
            raise InputError(
                f"expected models by form, {sorted(MODEL_FORMS)}, got {sorted(self.folders)}"
            )
        for form, folder in self.folders.items():
            model = open_model(folder).float()
            if model.every_token:
                raise InputError(
                    "the page shows models that classify texts, this one classifies tokens"
                )
            self._models[form] = DemoModel(ClientHalf.open(folder), model)

    @property
    def protocols(self) -> list[str]:
        """Those that the models serve."""
        return [protocol for protocol in PROTOCOLS if self._forms(protocol)]

    def _forms(self, protocol: str) -> list[str]:
        """Forms of the models that a protocol shows, that which no other serves first."""
        opened = PROTOCOL_FACTS[protocol].opens  # better seen under its own protocol
        forms = [form for form in self.folders if protocol in protocols_of(form) and form != opened]
        return sorted(forms, key=lambda form: len(protocols_of(form)))

    @property
    def engines(self) -> list[str]:
        """Slot engines whose libraries are here, those that encrypt first."""
        names = [name for name in list_backends() if _usable(name)]
        return sorted(names, key=lambda name: (name == "clear", name))

    def model_for(self, protocol: str) -> DemoModel:
        """The model that a protocol serves."""
        return self._models[self._forms(protocol)[0]]

    def server(self, protocol: str, engine: str) -> LockedServer:
        """The server of a protocol on an engine. Raises as ``ThexServer``."""
        with self._lock:
            if (protocol, engine) not in self._servers:
                model = self.model_for(protocol).model
                server = ThexServer(
                    model.encoder_weights(),
                    RecordingBackend(get_backend(engine)),
                    ranges=model.config.ranges,
                    options=PlanOptions(protocol),
                )
                self._servers[protocol, engine] = LockedServer(server)
            return self._servers[protocol, engine]

    def encode(self, plan: Plan, engine: str, update: Update) -> bool:
        """Encode the weights of a plan, which is done once; whether it was done now."""
        locked = self.server(plan.protocol, engine)
        total = sum(count for (verb, _), count in plan.operations.items() if verb == "encode")
        done = 0

        def count_one() -> None:
            nonlocal done
            done += 1
            update({"encoded": (done, total)})

        with locked.lock:
            if (plan.id, engine) in self._encoded:
                return False
            locked.server.prepare(count_one, plan.id)
            self._encoded.add((plan.id, engine))
        return True


def unknown_token(half: ClientHalf) -> str:
    """The token that a model's tokenizer puts for what its vocabulary lacks; empty: it has none."""
    told = half.settings.get("unk_token")
    if isinstance(told, Mapping):  # as transformers 4 writes a token with its flags
        told = told.get("content")
    return str(told or getattr(half.tokenizer.model, "unk_token", None) or "")


def _usable(name: str) -> bool:
    try:
        return get_backend(name).available()[0]
    except ThexError:
        return False


@dataclass(eq=False)
class Session:
    """One visitor: a client for each protocol and engine that was tried.

    Args:
        servers: of the models.
        name: owner of keys and runs; drawn, so that nobody guesses it.
        lock: held while a text of theirs is on its way.
    """

    servers: Servers
    name: str = field(default_factory=lambda: secrets.token_hex(16))
    lock: threading.Lock = field(default_factory=threading.Lock)
    _clients: dict[tuple[str, str], tuple[Client, RecordingTransport]] = field(
        default_factory=dict, repr=False
    )
    _batches: dict[int, tuple[TicketStock, Prepared]] = field(default_factory=dict, repr=False)

    def client(self, protocol: str, engine: str) -> tuple[Client, RecordingTransport]:
        """The client that speaks to that server, and its transport."""
        if (protocol, engine) not in self._clients:
            transport = RecordingTransport(self.servers.server(protocol, engine), self.name)
            self._clients[protocol, engine] = Client(transport, backend=engine, tries=2), transport
        return self._clients[protocol, engine]

    def key_bytes(self, protocol: str, engine: str) -> int:
        """Size of the evaluation keys that this server has of the visitor; 0 before any."""
        pair = self._clients.get((protocol, engine))
        return pair[1].key_bytes if pair else 0

    @property
    def tickets(self) -> dict[int, int]:
        """Tickets that are left, by padded length, where any were prepared."""
        return {tokens: stock.left() for tokens, (stock, _) in sorted(self._batches.items())}

    def with_tickets(
        self, plan: PreparedPlan, client: Client, transport: RecordingTransport, update: Update
    ) -> Prepared:
        """Prepare a batch where no ticket is left; what the batch of the next ticket cost."""
        stock = client.stock(plan)
        if not stock.left():
            count, most = plan.batch.tickets, plan.tokens
            words = f"Both sides prepare {count} tickets for texts of up to {most} tokens."
            update({"activity": words})
            with transport.preparing(1 + sum(len(job.chunks) for job in plan.batch.jobs)):
                self._batches[most] = stock, client.prepare_tickets(plan)
        update({"tickets": self.tickets})
        return self._batches[plan.tokens][1]


@dataclass(eq=False)
class Sessions:
    """Sessions by browser; the longest unseen one makes room for a new one."""

    servers: Servers
    most: int = MOST_SESSIONS
    _sessions: OrderedDict[str, Session] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self._sessions)

    def of(self, browser: str) -> Session:
        """The session of a browser."""
        with self._lock:
            session = self._sessions.setdefault(browser, Session(self.servers))
            self._sessions.move_to_end(browser)
            while len(self._sessions) > self.most:
                self._sessions.popitem(last=False)
            return session

    def leave(self, browser: str) -> None:
        """Forget a visitor, the secret keys with them."""
        with self._lock:
            self._sessions.pop(browser, None)


def run(session: Session, text: str, protocol: str, engine: str) -> Iterator[ViewState]:
    """Classify a text; a view state now and then, the last one with the answer or an error.

    Args:
        session: whose text it is.
        text: to classify.
        protocol: one of the servers'.
        engine: one of the servers'.
    """
    updates: queue.SimpleQueue[Changes] = queue.SimpleQueue()
    state = ViewState(protocol, engine, "running", "The client prepares the text.")
    yield state
    worker = threading.Thread(
        target=_run_in_thread, args=(session, text, state, updates.put), daemon=True
    )
    worker.start()
    while True:
        changes = _next_changes(updates)
        state = replace(state, **changes)
        yield state
        if state.status != "running":
            return


def _next_changes(updates: queue.SimpleQueue[Changes]) -> dict[str, Any]:
    """All changes within :data:`REFRESH_SECONDS`, joined; at once where the text is done."""
    changes: dict[str, Any] = {}
    end = time.monotonic() + REFRESH_SECONDS
    while (left := end - time.monotonic()) > 0 and "status" not in changes:
        try:
            changes |= updates.get(timeout=left)
        except queue.Empty:
            break
    return changes


def _run_in_thread(session: Session, text: str, state: ViewState, update: Update) -> None:
    try:
        with session.lock:
            _classify(session, text, state, update)
        update({"status": "answered", "activity": "The client has read the answer."})
    except ThexError as error:
        update({"status": "failed", "error": sentence(error)})
    except Exception as error:
        update({"status": "failed", "error": f"Something went wrong: {type(error).__name__}."})
        raise


def sentence(error: ThexError) -> str:
    """An error of ours as a reader's sentence."""
    words = str(error).strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?", "!")) else ".")


def _classify(session: Session, text: str, state: ViewState, update: Update) -> None:
    model = session.servers.model_for(state.protocol)
    client, transport = session.client(state.protocol, state.engine)
    # first: keys may have crossed before a text is refused
    update({"key_bytes": transport.key_bytes, "tickets": session.tickets})
    ids, types = model.half.tokenise(text)
    names = tuple(model.half.tokenizer.id_to_token(int(token)) for token in ids)
    update({"tokens": names, "unknown": unknown_token(model.half)})
    plan = transport.locked.server.plans[client.plan(len(ids)).id]  # the server's has counts in it
    embeddings = model.half.embed(ids, types)
    update({"embeddings": embeddings, "facts": public_facts(plan)})
    if isinstance(plan, PreparedPlan):
        result, seconds = _run_prepared(session, plan, state.engine, embeddings, update)
    else:
        result, seconds = _run_circuit(session, plan, state.engine, embeddings, update)
    answer = Prediction.of(result.logits, model.half.config)
    update({"seconds": seconds, "answer": answer})
    update({"clear": model.predict(ids, types)})


def _run_circuit(
    session: Session, plan: Plan, engine: str, embeddings: Vector, update: Update
) -> tuple[Result, Seconds]:
    client, transport = session.client(plan.protocol, engine)
    update({"rounds": plan.schedule.rounds})
    update(
        {"active": "server", "activity": "The server encodes its weights, once for all visitors."}
    )
    begin = time.perf_counter()
    fresh = session.servers.encode(plan, engine, update)
    encoding = time.perf_counter() - begin if fresh else 0.0
    update({"active": "client", "activity": "The client encrypts; its first text needs keys, too."})
    transport.begin(plan, update)
    update({"key_switches": (0, plan.key_switches)})
    result = client.run(embeddings)
    spent = result.keygen_seconds, encoding, result.client_seconds, result.server_seconds
    return result, Seconds(*spent)


def _run_prepared(
    session: Session, plan: PreparedPlan, engine: str, embeddings: Vector, update: Update
) -> tuple[Result, Seconds]:
    client, transport = session.client(PREPARED, engine)
    update({"rounds": plan.rounds})
    transport.begin(plan, update)
    begin, fresh = time.perf_counter(), not transport.key_bytes
    client.keys_for(plan)
    keygen = time.perf_counter() - begin if fresh else 0.0
    batch = session.with_tickets(plan, client, transport, update)
    update({"batch": batch, "activity": "The client masks the text with a ticket."})
    result = client.run(embeddings)
    update({"tickets": session.tickets})
    return result, Seconds(keygen, 0.0, result.client_seconds, result.server_seconds)
