"""The transport between a visitor's client and the server: carries bytes, records what crosses."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thex_hf.circuits.plan import Plan
from thex_hf.demo.recording_backend import on_key_switch
from thex_hf.demo.view_state import KEYS, Update, WireMessage
from thex_hf.serving.server import ThexServer

EXCERPT = 96 * 48
"""Bytes of a message that the page shows, from its middle, where nothing but ciphertext is."""


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
    plan: Plan | None = None
    all_messages: list[WireMessage] = field(default_factory=list)
    key_switches: int = 0
    key_bytes: int = 0

    def begin(self, plan: Plan, update: Update) -> None:
        """Be ready for a text: forget the messages of the last one."""
        self.plan, self.update, self.key_switches = plan, update, 0
        self.all_messages.clear()

    def info(self) -> dict[str, Any]:
        """As the server says."""
        return self.locked.server.info()

    def send_keys(self, data: bytes) -> str:
        """Hand the evaluation keys over."""
        self._record(KEYS, data, up=True)
        with self.locked.lock:
            name = self.locked.server.take_keys(data, self.owner)
        self.key_bytes = len(data)
        self.update({"key_bytes": len(data)})
        return name

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """Carry a message there and the one that answers it back."""
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
            {"key_switches": (self.key_switches, self.plan.key_switches if self.plan else 0)}
        )

    def _visit_name(self, index: int) -> str:
        visits = self.plan.schedule.round_trips if self.plan else ()
        return visits[index].name if index < len(visits) else ""

    def _activity(self, index: int) -> str:
        goal = self._visit_name(index)
        return f"The server computes towards {goal or 'the answer'}, on ciphertext."


def public_facts(plan: Plan) -> Mapping[str, int]:
    """What both sides know of a text, for the page."""
    facts = plan.facts
    return {
        "bucket": facts.bucket,
        "ring_degree": facts.ring_degree,
        "modulus_bits": facts.modulus_bits,
        "levels": facts.levels,
    }
