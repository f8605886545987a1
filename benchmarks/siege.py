"""One owner asks steadily while strangers and another owner attack in every way at once.

    python benchmarks/siege.py --messages 1000000 --keys KEYS --tokens TOKENS

TOKENS has two lines, ``ann TOKEN`` and ``bob TOKEN``. Ann's texts are sent once each: no patience,
no second try, so that any refusal shows. Bob sends mutated messages of a real run to every route
(see hostile.py) and holds what he can; strangers have no token. Each of the three comes from an
address of its own on this machine; with ``--same-address`` all share Ann's, as behind a proxy, and
Ann sends a text again as clients do by default. The attackers have a lower priority (nice 10).
Ann's latency is also measured without an attack, before it and after it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from besiegers import Besieger, stand_back
from common import surroundings, write
from hostile import TEXT, Recorder, endpoints
from service import Service, client, serving

from thex_hf.errors import ThexError

STRANGERS, BOB = "127.0.0.2", "127.0.0.3"
"""Where attackers come from; Ann is at 127.0.0.1."""
BATCH = 200
"""Mutated messages between two looks at the clock."""


@dataclass(frozen=True)
class Counted:
    """Hostile messages sent, and how many there shall be; shared by processes."""

    sent: Synchronized[int]
    most: Synchronized[int]


@dataclass
class Asker(threading.Thread):
    """An owner who asks one text after another.

    Args:
        url: of the service.
        token: of the owner.
        label: that the text should get.
        tries: how often a text is sent where it was lost.
        phase: what is going on.
    """

    url: str
    token: str
    label: str
    tries: int = 1
    phase: str = "warm"
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: Counter[str] = field(default_factory=Counter)
    ended: bool = False

    def __post_init__(self) -> None:
        """A thread."""
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Ask until told to end; every refusal counts, and every wrong answer."""
        one = client(self.url, token=self.token, patience=0.0)
        one.client.tries = self.tries
        while not self.ended:
            phase, begin = self.phase, time.perf_counter()
            try:
                if one.classify(TEXT).label != self.label:
                    self.refused[f"{phase}: another label"] += 1
            except ThexError as error:
                self.refused[f"{phase}: {type(error).__name__}: {str(error)[:100]}"] += 1
            self.seconds[phase].append(time.perf_counter() - begin)

    def figures(self, *phases: str) -> dict[str, Any]:
        """Of texts that began in these phases."""
        found = np.array([one for phase in phases for one in self.seconds[phase]])
        named = [text for text in self.refused if text.split(":")[0] in phases]
        return {
            "texts": len(found),
            "refused": sum(self.refused[text] for text in named),
            **{f"p{q}": round(float(np.percentile(found, q)), 3) for q in (50, 95)},
            "max": round(float(found.max()), 3),
        }


def besiege(url: str, token: str, apart: bool, count: Counted, pipe: Any) -> None:
    """In a process of its own: every attack in a thread, until so many messages were sent."""
    stand_back()
    results: dict[str, Counter[str]] = defaultdict(Counter)
    lock = threading.Lock()

    def work(seed: int, name: str) -> None:
        place = STRANGERS if "strangers" in name or "HTTP" in name else BOB
        own = Besieger(url, token, seed, place if apart else "")
        attack = own.attacks()[name]
        while count.sent.value < count.most.value:
            found = attack()
            with lock:
                results[name] += found
            with count.sent.get_lock():
                count.sent.value += found.total()
        own.end()

    names = Besieger(url, token).attacks()
    threads = [threading.Thread(target=work, args=one) for one in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send({name: dict(found) for name, found in results.items()})


def mutate(
    url: str,
    token: str,
    traffic: dict[str, list[bytes]],
    address: str,
    count: Counted,
    pipe: Any,
) -> None:
    """In a process of its own: mutated messages to every route."""
    stand_back()
    statuses: Counter[str] = Counter()
    wrong: list[str] = []
    while count.sent.value < count.most.value:
        found = endpoints(BATCH, url, traffic, token, count.sent, address)
        statuses.update(found["statuses"])
        wrong += found["wrong"]
    pipe.send({"statuses": dict(statuses), "wrong": wrong[:20], "wrongs": len(wrong)})


def memory(service: Service) -> dict[str, int]:
    """Resident megabytes: of the gate, and of the largest other process."""
    found = []
    for pid in service.pids():
        text = Path(f"/proc/{pid}/status").read_text()
        found.append(int(text.split("VmRSS:")[1].split()[0]) // 1000)
    return {"gate": found[0], "largest worker": max(found[1:])}


def siege(
    service: Service,
    tokens: dict[str, str],
    most: int,
    longest: float,
    calm: float,
    *,
    apart: bool,
) -> dict[str, Any]:
    """Calm, attack, calm again; what was seen."""
    one = client(service.url, token=tokens["bob"])
    recorder = Recorder(one.server)
    one.client.server = recorder
    label = one.classify(TEXT).label
    (keys,) = one.client.made.values()
    run = msgpack.unpackb(recorder.passed["up"][0])["run"]
    traffic = {
        **recorder.passed,
        "info": [json.dumps(dict(one.client.info)).encode()],
        "names": [keys.name.encode(), run.encode()],
    }
    asker = Asker(service.url, tokens["ann"], label, tries=1 if apart else 3)
    asker.start()
    while len(asker.seconds["warm"]) < 3:
        time.sleep(0.1)
    asker.phase = "before"
    time.sleep(calm)
    start, pids = memory(service), set(service.pids())
    asker.phase = "attack"
    context = multiprocessing.get_context("fork")
    count = Counted(context.Value("q", 0), context.Value("q", most))
    attackers, pipes = [], []
    for target, rest in ((besiege, (apart,)), (mutate, (traffic, BOB if apart else ""))):
        near, far = context.Pipe()
        arguments = (service.url, tokens["bob"], *rest, count, far)
        attackers.append(context.Process(target=target, args=arguments, daemon=True))
        pipes.append(near)
    begin = time.time()
    for attacker in attackers:
        attacker.start()
    highest = start
    while any(attacker.is_alive() for attacker in attackers) and not all(
        pipe.poll() for pipe in pipes
    ):
        time.sleep(2.0)
        if time.time() - begin > longest:
            count.most.value = 0
        highest = {name: max(value, highest[name]) for name, value in memory(service).items()}
    others, mutated = (pipe.recv() for pipe in pipes)
    seconds = time.time() - begin
    asker.phase = "settling"
    end = memory(service)
    time.sleep(5.0)
    asker.phase = "after"
    time.sleep(calm)
    asker.ended = True
    asker.join(60)
    return {
        "messages": count.sent.value,
        "seconds": round(seconds),
        "processes_replaced": len(pids - set(service.pids())),
        "calm": asker.figures("before", "after"),
        "attack": asker.figures("attack"),
        "refusals": dict(asker.refused),
        "megabytes_start": start,
        "megabytes_end": end,
        "megabytes_highest": highest,
        "attacks": others,
        "mutated": mutated,
    }


def main() -> None:
    """Run it and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--longest", type=float, default=1e9, help="seconds of the attack")
    parser.add_argument("--calm", type=float, default=60.0, help="seconds before, and after")
    parser.add_argument("--keys", required=True, help="a folder for clients' keys")
    parser.add_argument("--tokens", required=True, help="a file of two owners, ann and bob")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--same-address", action="store_true")
    parser.add_argument("--name", default="siege")
    chosen = parser.parse_args()
    lines = Path(chosen.tokens).read_text().split("\n")
    tokens = dict(line.split() for line in lines if line)
    options = ("--bucket", 16, "--keys", chosen.keys, "--tokens", chosen.tokens)
    place = surroundings()
    with serving("--port", 0, "--workers", chosen.workers, *options) as service:
        bounds = (chosen.messages, chosen.longest, chosen.calm)
        record = siege(service, tokens, *bounds, apart=not chosen.same_address)
    how = {"workers": chosen.workers, "same_address": chosen.same_address}
    record = {"surroundings": place, **how, **record}
    table = [["phase", "ann's texts", "refused", "p50 s", "p95 s", "max s"]]
    for phase in ("calm", "attack"):
        table.append([phase, *(str(value) for value in record[phase].values())])
    ratio = {q: record["attack"][q] / record["calm"][q] for q in ("p50", "p95", "max")}
    table.append(["ratio", "", "", *(f"{value:.2f}" for value in ratio.values())])
    write(chosen.name, record, table)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
