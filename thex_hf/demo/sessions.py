"""The visitors of the page, each with keys of their own, and one text of theirs as it runs."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from thex_hf.client.exchange import Client
from thex_hf.client.scores import best
from thex_hf.demo.recording_transport import Wire, facts_of
from thex_hf.demo.servers import Host
from thex_hf.demo.view_state import Scene, Seconds, Tell, Verdict
from thex_hf.errors import ThexError

MOST_GUESTS = 8
TICK = 0.25  # seconds between two scenes

Changes = Mapping[str, Any]


@dataclass(eq=False)
class Guest:
    """One visitor: a client for each protocol and engine that was tried.

    Args:
        host: with the servers.
        name: owner of keys and runs; drawn, so that nobody guesses it.
        lock: held while a text of theirs is on its way.
    """

    host: Host
    name: str = field(default_factory=lambda: secrets.token_hex(16))
    lock: threading.Lock = field(default_factory=threading.Lock)
    _clients: dict[tuple[str, str], tuple[Client, Wire]] = field(default_factory=dict, repr=False)

    def client(self, protocol: str, engine: str) -> tuple[Client, Wire]:
        """The client that speaks to that server, and its wire."""
        if (protocol, engine) not in self._clients:
            wire = Wire(self.host.desk(protocol, engine), self.name)
            self._clients[protocol, engine] = Client(wire, backend=engine, tries=2), wire
        return self._clients[protocol, engine]

    def key_bytes(self, protocol: str, engine: str) -> int:
        """Size of the evaluation keys that this server has of the visitor; 0 before any."""
        known = self._clients.get((protocol, engine))
        return known[1].key_bytes if known else 0


@dataclass(eq=False)
class Guests:
    """Visitors by their browser's session; the longest unseen one makes room for a new one."""

    host: Host
    most: int = MOST_GUESTS
    _held: OrderedDict[str, Guest] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self._held)

    def of(self, session: str) -> Guest:
        """The visitor of a session."""
        with self._lock:
            guest = self._held.setdefault(session, Guest(self.host))
            self._held.move_to_end(session)
            while len(self._held) > self.most:
                self._held.popitem(last=False)
            return guest

    def leave(self, session: str) -> None:
        """Forget a visitor, the secret keys with them."""
        with self._lock:
            self._held.pop(session, None)


def run(guest: Guest, text: str, protocol: str, engine: str) -> Iterator[Scene]:
    """Classify a text; a scene now and then, and the last one with the answer or an error.

    Args:
        guest: whose text it is.
        text: to classify.
        protocol: one of the host's.
        engine: one of the host's.
    """
    news: queue.SimpleQueue[Changes] = queue.SimpleQueue()
    scene = Scene(protocol, engine, "running", "The client prepares the text.")
    yield scene
    worker = threading.Thread(target=_work, args=(guest, text, scene, news.put), daemon=True)
    worker.start()
    while True:
        changes = _drain(news)
        scene = replace(scene, **changes)
        yield scene
        if scene.status != "running":
            return


def _drain(news: queue.SimpleQueue[Changes]) -> dict[str, Any]:
    """All that was told within a tick, joined; at once where the text is done."""
    found: dict[str, Any] = {}
    end = time.monotonic() + TICK
    while (left := end - time.monotonic()) > 0 and "status" not in found:
        try:
            found |= news.get(timeout=left)
        except queue.Empty:
            break
    return found


def _work(guest: Guest, text: str, scene: Scene, tell: Tell) -> None:
    try:
        with guest.lock:
            _classify(guest, text, scene, tell)
        tell({"status": "answered", "doing": "The client has read the answer."})
    except ThexError as error:
        tell({"status": "failed", "error": sentence(error)})
    except Exception as error:
        tell({"status": "failed", "error": f"Something went wrong: {type(error).__name__}."})
        raise


def sentence(error: ThexError) -> str:
    """An error of ours as a reader's sentence."""
    words = str(error).strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?", "!")) else ".")


def _classify(guest: Guest, text: str, scene: Scene, tell: Tell) -> None:
    hosted = guest.host.hosted(scene.protocol)
    caller, wire = guest.client(scene.protocol, scene.engine)
    tell({"key_bytes": wire.key_bytes})  # first: they may have crossed before a text is refused
    ids, types = hosted.half.tokenise(text)
    names = tuple(hosted.half.tokenizer.id_to_token(int(token)) for token in ids)
    tell({"tokens": names})
    plan = wire.desk.server.plans[caller.plan(len(ids)).id]  # the server's has counts in it
    embeddings = hosted.half.embed(ids, types)
    tell({"embeddings": embeddings, "facts": facts_of(plan), "rounds": plan.schedule.rounds})
    tell({"place": "server", "doing": "The server encodes its weights, once for all visitors."})
    begin = time.perf_counter()
    fresh = guest.host.encode(plan, scene.engine, tell)
    encoding = time.perf_counter() - begin if fresh else 0.0
    tell({"place": "client", "doing": "The client encrypts; its first text needs keys, too."})
    wire.begin(plan, tell)
    tell({"switched": (0, plan.key_switches)})
    call = caller.run(embeddings)
    seconds = Seconds(call.keygen_seconds, encoding, call.client_seconds, call.server_seconds)
    found = best(call.logits, hosted.half.config)
    answer = Verdict(str(found["label"]), float(found["score"]), call.logits)
    tell({"seconds": seconds, "answer": answer})
    tell({"clear": hosted.verdict(ids, types)})
