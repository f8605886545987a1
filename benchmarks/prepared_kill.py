"""Kill -9 of either side at random moments of preparation and use: no ticket serves two texts.

The smallest model, real ciphertexts, both sides' tickets in folders, a socket between. One side is
killed and started again, many times. Whatever the client sends is written down before, whatever
comes back after. At the end no ticket was sent twice, and every request that was ever sent is sent
again, twice: over all time the server has answered each ticket once at most.

``python benchmarks/prepared_kill.py [--kills 30] [--seed 1]``. Writes results/prepared_kill.json
and results/prepared_kill.md. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from common import surroundings, write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import (  # type: ignore[import-not-found]  # of the tests
    polynomial_logits,
    random_polynomial_weights,
)

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.client.exchange import Client
from thex_hf.errors import ConnectionLost, KeyMismatch, ThexError
from thex_hf.prepared.plan import PreparedPlan
from thex_hf.prepared.wire import read_name
from thex_hf.processes import Channel, error_from_message, error_to_message
from thex_hf.protocol.messages import Message
from thex_hf.serving.fairness import ANYONE
from thex_hf.serving.runs import RunName, Runs
from thex_hf.serving.server import ThexServer
from thex_hf.serving.ticket_places import FolderLedger

WEIGHTS = random_polynomial_weights(layers=1, hidden=16, heads=2, intermediate=16)
CONTEXT = multiprocessing.get_context("fork")
SIDES, PHASES = ("server", "client"), ("preparation", "use")
SECONDS = {"preparation": 8.0, "use": 0.5}
"""Within which a kill comes after its phase has begun."""


def serve(folder: Path) -> None:
    """The server: one message at a time, tickets in a file."""
    server = ThexServer(
        WEIGHTS,
        get_backend("seal"),
        options=PlanOptions("prepared"),
        buckets=(16,),
        tickets=FolderLedger(folder / "server"),
        runs=Runs(most_preparing=64),  # those of a client that was killed are in nobody's way
    )
    place, lock = folder / "socket", threading.Lock()
    place.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        while True:
            end, _ = listener.accept()
            threading.Thread(target=_answer, args=(server, lock, Channel(end)), daemon=True).start()


def _answer(server: ThexServer, lock: Any, channel: Channel) -> None:
    try:
        asked = channel.receive()
    except (OSError, EOFError):
        return
    try:
        with lock:
            op, rest = asked["op"], asked["rest"]
            out: Any = None
            if op == "info":
                out = server.info()
            elif op == "send_keys":
                out = server.take_keys(*rest)
            elif op == "answer":
                out = server.answer(rest[0], rest[1], run=rest[2])
            else:
                server.runs.drop(RunName(ANYONE, *rest))
        channel.send({"out": out})
    except Exception as error:
        with suppress(OSError):
            channel.send({"error": error_to_message(error)})


class Carrier:
    """A transport that writes down every request for a text, and that it was answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def info(self) -> Any:
        """What the server says of itself."""
        return self._ask("info")

    def send_keys(self, data: bytes) -> Any:
        """Have the server read a key file."""
        return self._ask("send_keys", data)

    def answer(self, data: bytes, keys: str, run: str) -> Any:
        """The server's answer."""
        name = ticket_of(data)
        if name is not None:
            (self.folder / "requests" / f"{name}.{run}").write_bytes(keys.encode() + data)
            note(self.folder, event="sent", ticket=name, run=run)
        out = self._ask("answer", data, keys, run)
        if name is not None:
            note(self.folder, event="answered", ticket=name, run=run)
        return out

    def give_up(self, keys: str, run: str) -> None:
        """Have a run forgotten."""
        with suppress(ThexError):
            self._ask("give_up", keys, run)

    def _ask(self, op: str, *rest: Any) -> Any:
        try:
            with socket.socket(socket.AF_UNIX) as end:
                end.connect(str(self.folder / "socket"))
                channel = Channel(end)
                channel.send({"op": op, "rest": rest})
                told = channel.receive()
        except (OSError, EOFError) as error:
            raise ConnectionLost(f"the server went away: {error}") from error
        if "error" in told:
            raise error_from_message(told["error"])
        return told["out"]


def ticket_of(data: bytes) -> str | None:
    """The ticket that a request for a text spends; None: it is another message."""
    message = Message.from_bytes(data)
    if message.type != "request" or message.plan != PLAN_ID:
        return None
    batch, number = read_name(message.parts[0])
    return f"{batch.hex()}-{number}"


PLAN_ID = ""
TWICE_SENT = "tickets sent twice by the client"
TWICE_ANSWERED = "tickets answered more than once in all"


def note(folder: Path, **facts: Any) -> None:
    """One line of the log, in one write: a process that is killed leaves no half of one."""
    descriptor = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, json.dumps(facts).encode() + b"\n")
    os.close(descriptor)


def noted(folder: Path) -> list[dict[str, Any]]:
    """The log."""
    path = folder / "log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def use(folder: Path) -> None:
    """The client: classifies texts without end, and prepares where it is told to."""
    rng, client = np.random.default_rng(), None
    while True:
        try:
            if client is None:
                client = Client(Carrier(folder), folder / "client", pause=0.1)
            plan = client.plan(5)
            assert isinstance(plan, PreparedPlan)
            stock = client.stock(plan)
            if (folder / "phase").read_text() == "preparation" or not stock.left():
                note(folder, event="phase", phase="preparation")
                client.prepare_tickets(plan)
                note(folder, event="prepared")
                continue
            note(folder, event="phase", phase="use")
            text = rng.normal(size=(5, 16))
            result = client.run(text)
            right = np.abs(result.logits - polynomial_logits(WEIGHTS, text)).max() < 0.01
            note(folder, event="text", right=bool(right))
        except ThexError as error:
            note(folder, event="error", name=type(error).__name__, text=str(error)[:200])
            time.sleep(0.1)
            if isinstance(error, KeyMismatch):
                client = None  # the server has started anew, and keeps no keys here: send them


START = {"server": serve, "client": use}


def killed(folder: Path, kills: int, seed: int) -> Counter[str]:
    """Kill each side so many times; how often in which phase."""
    draw, done = random.Random(seed), Counter[str]()
    (folder / "phase").write_text("use")
    running = {side: start(folder, side) for side in SIDES}
    try:
        for number in range(2 * kills):
            side, phase = SIDES[number % 2], PHASES[number // 2 % 2]
            (folder / "phase").write_text(phase)
            await_events(folder, lambda one, phase=phase: one.get("phase") == phase, 120.0)
            time.sleep(draw.uniform(0, SECONDS[phase]))
            os.kill(running[side].pid, signal.SIGKILL)
            running[side].join()
            done[f"{side} in {phase}"] += 1
            print(f"{number + 1} of {2 * kills}: {side} in {phase}", flush=True)
            note(folder, event="killed", side=side)
            running[side] = start(folder, side)
        (folder / "phase").write_text("use")
        for _ in range(5):
            await_events(folder, lambda one: one["event"] == "text", 180.0)
    finally:
        for process in running.values():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
    return done


def start(folder: Path, side: str) -> Any:
    """A process of one side."""
    process = CONTEXT.Process(target=START[side], args=(folder,))
    process.start()
    return process


def await_events(folder: Path, wanted: Any, seconds: float) -> None:
    """Wait until the log has a line of that kind after all that it has now."""
    begun, end = len(noted(folder)), time.monotonic() + seconds
    while not any(wanted(one) for one in noted(folder)[begun:]):
        if time.monotonic() > end:
            raise TimeoutError(str(noted(folder)[-3:]))
        time.sleep(0.02)


def replayed(folder: Path) -> Counter[str]:
    """Send every request again, twice, to a server that starts anew; answers by ticket."""
    process, answers = start(folder, "server"), Counter[str]()
    try:
        carrier = Carrier(folder)
        time.sleep(3.0)
        client = Client(carrier, folder / "client")
        client.keys_for(client.plan(5))
        for path in sorted((folder / "requests").iterdir()):
            data, ticket = path.read_bytes(), path.stem
            for _ in range(2):
                message = Message.from_bytes(data[64:])
                fresh = Message(
                    message.type, message.plan, message.key, os.urandom(16).hex(), 0, message.parts
                )
                with suppress(ThexError):
                    carrier._ask("answer", fresh.to_bytes(), data[:64].decode(), fresh.run)
                    answers[ticket] += 1
                    carrier.give_up(data[:64].decode(), fresh.run)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    return answers


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="of each side")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    global PLAN_ID
    options = PlanOptions("prepared")
    plan = ThexServer(WEIGHTS, get_backend("seal"), options=options, buckets=(16,)).plan(16)
    PLAN_ID = plan.id
    begin, place = time.monotonic(), surroundings()
    with tempfile.TemporaryDirectory(prefix="thex-kill-") as name:
        folder = Path(name)
        (folder / "requests").mkdir()
        kills = killed(folder, chosen.kills, chosen.seed)
        log = noted(folder)
        sent = Counter(one["ticket"] for one in log if one["event"] == "sent")
        answered = Counter(one["ticket"] for one in log if one["event"] == "answered")
        again = replayed(folder)
    texts = [one["right"] for one in log if one["event"] == "text"]
    told = {
        "kills": dict(kills),
        "batches prepared": sum(one["event"] == "prepared" for one in log),
        "texts answered": len(texts),
        "of them right": sum(texts),
        "tickets sent": len(sent),
        TWICE_SENT: sum(count > 1 for count in sent.values()),
        "requests sent again, twice each": sum(sent.values()),
        "of them answered": sum(again.values()),
        TWICE_ANSWERED: sum(answered[ticket] + again[ticket] > 1 for ticket in sent),
        "errors that the client met": Counter(
            one["name"] for one in log if one["event"] == "error"
        ),
        "seconds": round(time.monotonic() - begin),
    }
    print(json.dumps(told, indent=2))
    rows = [[name, str(value)] for name, value in told.items() if not isinstance(value, dict)]
    rows[:0] = [["kills of the " + name, str(count)] for name, count in kills.items()]
    record = {"surroundings": place, "seed": chosen.seed, **told}
    write("prepared_kill", record, [["what", "count"], *rows])
    sys.exit(bool(told[TWICE_SENT] or told[TWICE_ANSWERED] or sum(texts) != len(texts)))


if __name__ == "__main__":
    main()
