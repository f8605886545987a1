"""The wire between a visitor's client and the server: carries bytes and shows what crosses."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thex_hf.circuits.plan import Plan
from thex_hf.demo.recording_backend import watching
from thex_hf.demo.view_state import KEYS, Passage, Tell
from thex_hf.serving.server import ThexServer

EXCERPT = 96 * 48
"""Bytes of a message that the page shows, from its middle, where nothing but ciphertext is."""


@dataclass
class Desk:
    """A server that answers one message at a time.

    Args:
        server: with its model; cannot decrypt.
        lock: held while it computes.
    """

    server: ThexServer
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(eq=False)
class Wire:
    """A :class:`thex_hf.client.transport.Transport` to a server in this process.

    Args:
        desk: the server.
        owner: whose keys and runs are meant.
        tell: told of each message and of each key switch.
        plan: of the text that is on its way, for the names of its visits.
    """

    desk: Desk
    owner: str
    tell: Tell = lambda changes: None
    plan: Plan | None = None
    passages: list[Passage] = field(default_factory=list)
    switched: int = 0
    key_bytes: int = 0

    def begin(self, plan: Plan, tell: Tell) -> None:
        """Be ready for a text: forget the messages of the last one."""
        self.plan, self.tell, self.switched = plan, tell, 0
        self.passages.clear()

    def info(self) -> dict[str, Any]:
        """As the server says."""
        return self.desk.server.info()

    def send_keys(self, data: bytes) -> str:
        """Hand the evaluation keys over."""
        self._cross(KEYS, data, up=True)
        with self.desk.lock:
            name = self.desk.server.take_keys(data, self.owner)
        self.key_bytes = len(data)
        self.tell({"key_bytes": len(data)})
        return name

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """Carry a message there and the one that answers it back."""
        done = sum(not one.up for one in self.passages)
        self._cross(f"reply {done}" if done else "request", data, up=True)
        self.tell({"place": "server", "doing": self._doing(done)})
        with self.desk.lock, watching(self._switched):
            out = self.desk.server.answer(data, keys, self.owner, run)
        self._cross(self._visit(done) or "answer", out, up=False)
        self.tell({"place": "client", "doing": "The client decrypts what it may read."})
        return out

    def give_up(self, keys: str, run: str) -> None:
        """Runs of a visitor who went away expire."""

    def _cross(self, name: str, data: bytes, *, up: bool) -> None:
        middle = max(0, (len(data) - EXCERPT) // 2)
        self.passages.append(Passage(up, name, len(data), data[middle : middle + EXCERPT]))
        self.tell({"passages": tuple(self.passages)})

    def _switched(self) -> None:
        self.switched += 1
        self.tell({"switched": (self.switched, self.plan.key_switches if self.plan else 0)})

    def _visit(self, index: int) -> str:
        visits = self.plan.schedule.round_trips if self.plan else ()
        return visits[index].name if index < len(visits) else ""

    def _doing(self, index: int) -> str:
        goal = self._visit(index)
        return f"The server computes towards {goal or 'the answer'}, on ciphertext."


def facts_of(plan: Plan) -> Mapping[str, int]:
    """What both sides know of a text, for the page."""
    facts = plan.facts
    return {
        "bucket": facts.bucket,
        "ring_degree": facts.ring_degree,
        "modulus_bits": facts.modulus_bits,
        "levels": facts.levels,
    }
