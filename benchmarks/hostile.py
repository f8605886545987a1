"""Mutated messages against every deserialiser and every endpoint; nothing may break.

    python benchmarks/hostile.py --deserialisers 60000 --requests 60000 --keys KEYS --tokens TOKENS

Seeds are real traffic: a text's requests, visits, replies and answer, a key file, plans and the
JSON of every route. Hypothesis draws the mutations. What counts as failure: an exception that is
not of ``thex_hf.errors``, a dead process, a status of 500 or more, a service that does not answer.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgpack
from common import RESULTS, surroundings, write
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from service import client, serving

TEXT = "A warm, funny and beautifully acted film."
BATCH = 5000
"""Messages that Hypothesis draws at once; it remembers each, in 5 kB."""
STRANGE: list[Any] = [
    None,
    True,
    -1,
    2**63,
    1e308,
    "",
    "\0",
    b"",
    [],
    {},
    [[]],
    [[b""]],
    "0" * 32,
    "f" * 64,
]


class Recorder:
    """A transport that keeps what passes."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.passed: dict[str, list[bytes]] = collections.defaultdict(list)

    def info(self) -> Any:
        """Pass on."""
        return self.inner.info()

    def send_keys(self, data: bytes) -> str:
        """Pass on and keep."""
        self.passed["keys"].append(data)
        return str(self.inner.send_keys(data))

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """Pass on and keep both ways."""
        out: bytes = self.inner.answer(data, keys, run)
        self.passed["up"].append(data)
        self.passed["down"].append(out)
        return out

    def give_up(self, keys: str, run: str) -> None:
        """Pass on."""
        self.inner.give_up(keys, run)


def mutations() -> st.SearchStrategy[Any]:
    """A list of changes to bytes, or to the fields of what the bytes unpack to."""
    place = st.integers(0, 2**31)
    return st.one_of(
        st.tuples(st.just("flip"), place, st.integers(1, 255)),
        st.tuples(st.just("cut"), place),
        st.tuples(st.just("drop"), place, st.integers(1, 64)),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=64)),
        st.tuples(st.just("zero"), place, st.integers(1, 4096)),
        st.tuples(st.just("number"), place, st.integers(0, 2**64 - 1)),
        st.tuples(st.just("repeat"), place, st.integers(1, 4096)),
        st.tuples(st.just("splice"), place, place),
        st.tuples(st.just("field"), place, st.sampled_from(STRANGE)),
        st.tuples(st.just("inner"), place, place, st.integers(1, 255)),
        st.tuples(st.just("random"), st.binary(max_size=200)),
    )


def mutate(data: bytes, changes: list[Any], seeds: list[bytes]) -> bytes:
    """Carry out changes."""
    for name, *rest in changes:
        if name == "random":
            data = rest[0]
            continue
        where = rest[0] % (len(data) + 1)
        if name == "flip" and data:
            where %= len(data)
            data = data[:where] + bytes([data[where] ^ rest[1]]) + data[where + 1 :]
        elif name == "cut":
            data = data[:where]
        elif name == "drop":
            data = data[:where] + data[where + rest[1] :]
        elif name == "insert":
            data = data[:where] + rest[1] + data[where:]
        elif name == "zero":
            data = data[:where] + bytes(rest[1]) + data[where + rest[1] :]
        elif name == "number":
            data = data[:where] + rest[1].to_bytes(8, "little") + data[where + 8 :]
        elif name == "repeat":
            data = data[:where] + data[where : where + rest[1]] + data[where:]
        elif name == "splice":
            other = seeds[rest[1] % len(seeds)]
            data = data[:where] + other[rest[1] % (len(other) + 1) :]
        else:
            data = _mutate_fields(name, data, rest)
    return data[: 16 << 20]


def _mutate_fields(name: str, data: bytes, rest: list[Any]) -> bytes:
    """Change a field, or a byte inside a ciphertext or key, and pack again."""
    try:
        fields = msgpack.unpackb(data, strict_map_key=False)
    except Exception:
        return data
    if not isinstance(fields, dict) or not fields:
        return data
    if name == "field":
        fields[sorted(fields, key=str)[rest[0] % len(fields)]] = rest[1]
        return bytes(msgpack.packb(fields))
    parts = fields.get("parts")
    if isinstance(parts, list) and parts and isinstance(parts[0], list) and parts[0]:
        group = parts[rest[0] % len(parts)]
        if isinstance(group, list) and group:
            index = rest[0] % len(group)
            group[index] = _flip(group[index], rest[1], rest[2])
    elif isinstance(parts, dict) and parts:
        key = sorted(parts, key=repr)[rest[0] % len(parts)]
        parts[key] = _flip(parts[key], rest[1], rest[2])
        _sign(fields)
    return bytes(msgpack.packb(fields))


def _flip(data: Any, where: int, change: int) -> Any:
    if not isinstance(data, bytes) or not data:
        return data
    where %= len(data)
    return data[:where] + bytes([data[where] ^ change]) + data[where + 1 :]


def _sign(fields: dict[str, Any]) -> None:
    """Make digest and id right again, so that the mutation reaches the library behind."""
    from thex_hf.backends.base import key_id_of
    from thex_hf.protocol.keyfile import _digest

    parts = fields["parts"]
    if set(parts) == {"relinearisation", "rotations", "public"}:
        own = (parts["relinearisation"], parts["rotations"], parts["public"])
        fields["digest"], fields["key_id"] = _digest(parts), key_id_of(*own)


def attack(count: int, seeds: list[bytes], act: Callable[[int, bytes], None]) -> None:
    """Let Hypothesis draw ``count`` mutated messages; ``act`` gets a number and the bytes."""
    numbers = iter(range(10 * count))
    for start in range(0, count, BATCH):
        _attack(min(BATCH, count - start), seeds, lambda data: act(next(numbers), data))


def _attack(count: int, seeds: list[bytes], act: Callable[[bytes], None]) -> None:
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, len(seeds) - 1), st.lists(mutations(), min_size=1, max_size=3))
    def one(seed: int, changes: list[Any]) -> None:
        act(mutate(seeds[seed], changes, seeds))

    one()


def deserialisers(count: int, traffic: dict[str, list[bytes]]) -> dict[str, Any]:
    """Everything that reads bytes from the other side, in a child that may not die."""
    from deserialisers import Readers

    read, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        readers = Readers(traffic)
        begin, before = time.time(), readers.memory()
        seeds = [data for group in traffic.values() for data in group]
        attack(count, seeds, readers.act)
        record = {
            "messages": readers.count,
            "accepted": dict(readers.accepted),
            "refused": dict(readers.refused),
            "unexpected": readers.unexpected[:20],
            "seconds": round(time.time() - begin, 1),
            "megabytes_before": before,
            "megabytes_after": readers.memory(),
        }
        os.write(write_end, json.dumps(record).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"exit": status, **(json.loads(data) if data else {})}


def endpoints(
    count: int,
    url: str,
    traffic: dict[str, list[bytes]],
    token: str,
    sent: Any = None,
    address: str = "",
) -> dict[str, Any]:
    """Every route of a running service.

    ``sent`` is a shared number that counts along, ``address`` where the messages come from, on this
    machine.
    """
    statuses: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    link = httpx.HTTPTransport(local_address=address or None)
    owner = {"Authorization": f"Bearer {token}"}
    http = httpx.Client(base_url=url, headers=owner, timeout=60, transport=link)
    names = traffic["names"]
    begin = time.time()

    def act(number: int, data: bytes) -> None:
        if sent is None:
            ask(number, data)
            return
        with sent.get_lock():
            sent.value += 1
        try:
            ask(number, data)
        except (httpx.HTTPError, OSError) as error:  # an idle connection may be shed meanwhile
            statuses[f"cut off: {type(error).__name__}"] += 1

    def ask(number: int, data: bytes) -> None:
        route = number % 7
        run = names[1].decode() if number % 3 else f"{number:032x}"
        headers = {"Thex-Keys": names[0].decode(), "Thex-Run": run}
        if route in (0, 1):
            answer = http.post("/predict", content=data, headers=headers)
        elif route == 2:
            text = "".join(chr(33 + byte % 94) for byte in data[:200])  # others: see _raw
            odd = {"Thex-Keys": text, "Thex-Run": text[:32]}
            answer = http.request("DELETE" if number % 2 else "POST", "/predict", headers=odd)
        elif route == 3:
            name = f"{number:064x}"
            answer = http.post("/keys", json={"name": name, "size": len(data) or 1})
            statuses[f"POST /keys {answer.status_code}"] += 1
            where = {"offset": (number % 2 and 0) or len(data) % 3}
            answer = http.put(f"/keys/{name}", params=where, content=data)
            http.delete(f"/keys/{name}")
        elif route == 6:
            statuses[f"raw {_raw(url, data[:3000], headers)}"] += 1
            return
        elif route == 4:
            answer = http.post("/keys", content=data[:5000])
        else:
            path = "/keys/" + data[:60].hex() if number % 2 else "/" + data[:20].hex()
            answer = http.request(("GET", "DELETE", "PUT", "PATCH")[number % 4], path)
        statuses[f"{answer.request.method} {route} {answer.status_code}"] += 1
        if answer.status_code >= 500 or (answer.status_code >= 400 and not _reason(answer)):
            wrong.append(f"{route} {answer.status_code} {answer.text[:200]}")

    attack(count, [d for group in traffic.values() for d in group], act)
    return {
        "messages": count,
        "statuses": dict(statuses),
        "wrong": wrong[:20],
        "wrongs": len(wrong),
        "seconds": round(time.time() - begin, 1),
    }


def _raw(url: str, data: bytes, headers: dict[str, str]) -> str:
    """Bytes that need not be HTTP; the status that came, or none."""
    parts = urlsplit(url)
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    where = data[0] % len(head) if data else 0
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20) as link:
        link.sendall(head[:where].encode() + data + head[where:].encode() + b"\r\n123456789")
        link.shutdown(socket.SHUT_WR)
        try:
            return link.recv(4096)[:12].decode("latin-1")
        except ConnectionError:
            return "reset"


def _reason(answer: httpx.Response) -> bool:
    try:
        return bool(answer.json()["message"])
    except Exception:
        return False


def main() -> None:
    """Run both attacks and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deserialisers", type=int, default=60_000, help="0: as recorded")
    parser.add_argument("--requests", type=int, default=60_000, help="0: as recorded")
    parser.add_argument("--keys", required=True, help="a folder for clients' keys")
    parser.add_argument("--tokens", required=True, help="a file with one line: ann TOKEN")
    parser.add_argument("--name", default="hostile")
    chosen = parser.parse_args()
    with open(chosen.tokens) as file:
        token = file.read().split()[1]
    earlier = RESULTS / f"{chosen.name}.json"
    record: dict[str, Any] = json.loads(earlier.read_text()) if earlier.exists() else {}
    record |= {"surroundings": surroundings()}
    options = ("--port", 0, "--bucket", 16, "--keys", chosen.keys, "--tokens", chosen.tokens)
    with serving(*options) as service:
        one = client(service.url, token=token)
        recorder = Recorder(one.server)
        one.client.server = recorder
        one.classify(TEXT)
        (keys,) = one.client.made.values()
        run = msgpack.unpackb(recorder.passed["up"][0])["run"]
        traffic = {
            **recorder.passed,
            "info": [json.dumps(dict(one.client.info)).encode()],
            "names": [keys.name.encode(), run.encode()],
        }
        if chosen.requests:
            before, pids = service.memory(), set(service.pids())
            record["endpoints"] = endpoints(chosen.requests, service.url, traffic, token)
            fresh = client(service.url, token=token).classify(TEXT)
            record["endpoints"] |= {
                "megabytes_before": round(before),
                "megabytes_after": round(service.memory()),
                "processes_replaced": len(pids - set(service.pids())),
                "a_text_afterwards": fresh.label,
            }
    if chosen.deserialisers:
        record["deserialisers"] = deserialisers(chosen.deserialisers, traffic)
    own, wire = record["deserialisers"], record["endpoints"]
    table = [
        ["attack", "messages", "unexpected", "processes lost", "MB before", "MB after", "seconds"],
        ["deserialisers", str(own.get("messages")), str(len(own.get("unexpected", []))),
         str(int(own["exit"] != 0)), str(own.get("megabytes_before")),
         str(own.get("megabytes_after")), str(own.get("seconds"))],
        ["endpoints", str(wire["messages"]), str(wire["wrongs"]), str(wire["processes_replaced"]),
         str(wire["megabytes_before"]), str(wire["megabytes_after"]), str(wire["seconds"])],
    ]  # fmt: skip
    write(chosen.name, record, table)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
