"""One text from the visitor's keyboard to the answer, as a stream of scenes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from thex_hf.client.scores import best
from thex_hf.demo.recording_transport import facts_of
from thex_hf.demo.sessions import Guest
from thex_hf.demo.view_state import Scene, Seconds, Tell, Verdict
from thex_hf.errors import ThexError

TICK = 0.25  # seconds between two scenes

Changes = Mapping[str, Any]


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
