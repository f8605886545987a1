"""What the page sees of a run: an engine that reports key switches, a transport that records bytes.

Both do what the real ones do, and tell of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from thex_hf.backends.base import EvaluationKeys, KeyRequest, SecretKeys, SlotBackend
from thex_hf.ckks.engine import (
    AnyVector,
    Blinding,
    ClientEngine,
    Handle,
    Move,
    Plaintext,
    ServerEngine,
)
from thex_hf.ckks.parameters import Parameters
from thex_hf.demo.view import KEYS, PUBLIC_KEY, Update, WireMessage
from thex_hf.prepared.plan import AnyPlan, PreparedPlan
from thex_hf.serving.server import ThexServer

EXCERPT = 96 * 48
"""Bytes of a message that the page shows, from its middle, where nothing but ciphertext is."""

OnKeySwitch = Callable[[], None]
_CALLBACK: ContextVar[OnKeySwitch | None] = ContextVar("on_key_switch", default=None)


@contextmanager
def on_key_switch(callback: OnKeySwitch) -> Iterator[None]:
    """Call ``callback`` after each key switch that this thread's server makes meanwhile."""
    token = _CALLBACK.set(callback)
    try:
        yield
    finally:
        _CALLBACK.reset(token)


@dataclass(frozen=True)
class RecordingBackend:
    """Another backend; its server engines report their key switches.

    Args:
        real: the backend that does it.
    """

    real: SlotBackend

    @property
    def name(self) -> str:
        """The real one's."""
        return self.real.name

    def available(self) -> tuple[bool, str]:
        """As the real one."""
        return self.real.available()

    def generate(self, request: KeyRequest) -> tuple[SecretKeys, EvaluationKeys]:
        """As the real one."""
        return self.real.generate(request)

    def client(self, parameters: Parameters, secret: SecretKeys) -> ClientEngine:
        """The real one's engine."""
        return self.real.client(parameters, secret)

    def server(
        self, parameters: Parameters, evaluation: EvaluationKeys, rotations: tuple[int, ...]
    ) -> ServerEngine:
        """The real one's engine, recorded."""
        return RecordingEngine(self.real.server(parameters, evaluation, rotations))


@dataclass(frozen=True)
class RecordingEngine:
    """Passes every verb on; see :class:`thex_hf.ckks.engine.ServerEngine` for what they do.

    Args:
        real: the engine that does it.
    """

    real: ServerEngine

    @property
    def slots(self) -> int:
        """As the real one."""
        return self.real.slots

    def level(self, a: Handle) -> int:
        """As the real one."""
        return self.real.level(a)

    def scale_ratio(self, level: int) -> float:
        """As the real one."""
        return self.real.scale_ratio(level)

    def encode(self, vector: AnyVector, level: int, *, factor: bool) -> Plaintext:
        """As the real one."""
        return self.real.encode(vector, level, factor=factor)

    def add(self, a: Handle, b: Handle) -> Handle:
        """As the real one."""
        return self.real.add(a, b)

    def sub(self, a: Handle, b: Handle) -> Handle:
        """As the real one."""
        return self.real.sub(a, b)

    def add_plain(self, a: Handle, p: Plaintext) -> Handle:
        """As the real one."""
        return self.real.add_plain(a, p)

    def mul_plain(self, a: Handle, p: Plaintext) -> Handle:
        """As the real one."""
        return self.real.mul_plain(a, p)

    def dot_plain(self, handles: Sequence[Handle], plains: Sequence[Plaintext]) -> Handle:
        """As the real one."""
        return self.real.dot_plain(handles, plains)

    def mul(self, a: Handle, b: Handle) -> Handle:
        """As the real one."""
        return self.real.mul(a, b)

    def rescale(self, a: Handle) -> Handle:
        """As the real one."""
        return self.real.rescale(a)

    def relinearise(self, a: Handle) -> Handle:
        """As the real one; counted."""
        return _count_key_switch(self.real.relinearise(a))

    def rotate(self, a: Handle, step: int) -> Handle:
        """As the real one; counted."""
        return _count_key_switch(self.real.rotate(a, step))

    def conjugate(self, a: Handle) -> Handle:
        """As the real one; counted."""
        return _count_key_switch(self.real.conjugate(a))

    def times_i(self, a: Handle) -> Handle:
        """As the real one."""
        return self.real.times_i(a)

    def rerandomise(self, a: Handle) -> Handle:
        """As the real one."""
        return self.real.rerandomise(a)

    def blind(self, handles: Sequence[Handle]) -> tuple[list[Handle], Blinding]:
        """As the real one."""
        return self.real.blind(handles)

    def unblind(self, handles: Sequence[Handle], blinding: Blinding, move: Move) -> list[Handle]:
        """As the real one."""
        return self.real.unblind(handles, blinding, move)

    def combine(
        self, handles: Sequence[Handle], weights: AnyVector, bias: AnyVector
    ) -> list[Handle]:
        """As the real one."""
        return self.real.combine(handles, weights, bias)

    def mod_switch(self, a: Handle, level: int) -> Handle:
        """As the real one."""
        return self.real.mod_switch(a, level)

    def load(self, data: bytes) -> Handle:
        """As the real one."""
        return self.real.load(data)

    def dump(self, a: Handle) -> bytes:
        """As the real one."""
        return self.real.dump(a)

    def export(self, a: Handle) -> bytes:
        """As the real one."""
        return self.real.export(a)

    def adopt(self, data: bytes) -> Handle:
        """As the real one."""
        return self.real.adopt(data)


def _count_key_switch(result: Handle) -> Handle:
    callback = _CALLBACK.get()
    if callback is not None:
        callback()
    return result


@dataclass
class LockedServer:
    """A server that answers one message at a time.

    Args:
        server: with its model; cannot decrypt.
        lock: held while it computes.
    """

    server: ThexServer
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(eq=False)
class RecordingTransport:
    """A :class:`thex_hf.client.transport.Transport` to a server in this process.

    Args:
        locked: the server.
        owner: whose keys and runs are meant.
        update: called with each message and each key switch.
        plan: of the text that is on its way, for the names of its visits.
    """

    locked: LockedServer
    owner: str
    update: Update = lambda changes: None
    plan: AnyPlan | None = None
    all_messages: list[WireMessage] = field(default_factory=list)
    key_switches: int = 0
    key_bytes: int = 0
    prepared: int = field(init=False, default=0)
    _to_prepare: int = field(init=False, default=0)

    def begin(self, plan: AnyPlan, update: Update) -> None:
        """Be ready for a text: forget the messages of the last one."""
        self.plan, self.update, self.key_switches = plan, update, 0
        self.all_messages.clear()

    @contextmanager
    def preparing(self, messages: int) -> Iterator[None]:
        """Count messages meanwhile, in place of recording them: they prepare a batch of tickets.

        Args:
            messages: that it takes.
        """
        self.prepared, self._to_prepare = 0, messages
        self.update({"preparing": (0, messages)})
        try:
            yield
        finally:
            self._to_prepare = 0
            self.update({"preparing": (0, 0)})

    def info(self) -> dict[str, Any]:
        """As the server says."""
        return self.locked.server.info()

    def send_keys(self, data: bytes) -> str:
        """Hand the evaluation keys over."""
        self._record(PUBLIC_KEY if isinstance(self.plan, PreparedPlan) else KEYS, data, up=True)
        with self.locked.lock:
            name = self.locked.server.take_keys(data, self.owner)
        self.key_bytes = len(data)
        self.update({"key_bytes": len(data)})
        return name

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """Carry a message there and the one that answers it back."""
        if self._to_prepare:
            with self.locked.lock:
                answer = self.locked.server.answer(data, keys, self.owner, run)
                self.prepared += 1  # a message that was lost is sent again
                self.update({"preparing": (min(self.prepared, total := self._to_prepare), total)})
            return answer
        done = sum(not one.up for one in self.all_messages)
        self._record(f"reply {done}" if done else "request", data, up=True)
        self.update({"active": "server", "activity": self._activity(done)})
        with self.locked.lock, on_key_switch(self._on_key_switch):
            answer = self.locked.server.answer(data, keys, self.owner, run)
        self._record(self._visit_name(done) or "answer", answer, up=False)
        self.update({"active": "client", "activity": "The client decrypts what it may read."})
        return answer

    def give_up(self, keys: str, run: str) -> None:
        """Runs of a visitor who went away expire."""

    def _record(self, name: str, data: bytes, *, up: bool) -> None:
        middle = max(0, (len(data) - EXCERPT) // 2)
        self.all_messages.append(WireMessage(up, name, len(data), data[middle : middle + EXCERPT]))
        self.update({"all_messages": tuple(self.all_messages)})

    def _on_key_switch(self) -> None:
        self.key_switches += 1
        self.update(
            {"key_switches": (self.key_switches, self.plan.facts.key_switches if self.plan else 0)}
        )

    def _visit_name(self, index: int) -> str:
        if isinstance(self.plan, PreparedPlan):
            return f"products {index + 1}" if index + 1 < self.plan.rounds else ""
        visits = self.plan.schedule.round_trips if self.plan else ()
        return visits[index].name if index < len(visits) else ""

    def _activity(self, index: int) -> str:
        goal = self._visit_name(index)
        what = "its shares" if isinstance(self.plan, PreparedPlan) else "ciphertext"
        return f"The server computes towards {goal or 'the answer'}, on {what}."


def public_facts(plan: AnyPlan) -> Mapping[str, int]:
    """What both sides know of a text, for the page."""
    facts = plan.facts
    return {
        "bucket": facts.bucket,
        "ring_degree": facts.ring_degree,
        "modulus_bits": facts.modulus_bits,
        "levels": facts.levels,
    }
