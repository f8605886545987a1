"""What strangers and one greedy owner do at the sockets of a service, and that others go on.

No worker computes here: the service is the real one, its hands do nothing.
"""

import io
import json
import logging
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from thex_hf.errors import OptionError
from thex_hf.serving.http.app import make_app
from thex_hf.serving.http.connection_limits import ConnectionLimits, listen
from thex_hf.serving.http.serve import HttpServer, ListenOptions
from thex_hf.serving.http.settings import BearerTokens, Settings, _hash
from thex_hf.serving.http.telemetry import JsonLines
from thex_hf.serving.keys.folder import KeyFolder
from thex_hf.serving.server import Served

ANN, BOB = "a" * 32, "b" * 32
BOUNDS = Settings(
    connections=24, connections_per_address=16, head_seconds=0.5, idle_seconds=0.5,
    body_seconds=3.0, bodies=8, linger_seconds=0.5, head_bytes=4096,
    body_rate=100_000,
)  # fmt: skip


class Idle:
    """A worker that has nothing to say."""

    name, alive = "idle", True

    async def ask(self, job):
        return {"data": b"", "seconds": 0.0}


class IdleWorkers:
    async def start(self):
        return Idle()

    async def stop(self, worker):
        return "ended"


@pytest.fixture(scope="module")
def log():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    own, other = logging.getLogger("thex_hf.serving.http"), logging.getLogger("uvicorn.error")
    levels = {own: logging.INFO, other: logging.ERROR}
    for logger, level in levels.items():
        logger.addHandler(handler)
        logger.setLevel(level)
    yield stream
    for logger in levels:
        logger.removeHandler(handler)


@contextmanager
def serving(folder, settings=BOUNDS, **listening):
    """A service whose workers do nothing."""
    tokens = BearerTokens({_hash(ANN): "ann", _hash(BOB): "bob"})
    served = Served({"protocol": "one-shot", "plans": {}}, 1000)
    app = make_app(served, IdleWorkers(), KeyFolder(folder), tokens=tokens, settings=settings)
    addresses = []
    server = HttpServer(app, ListenOptions(port=0, **listening), addresses.append)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not addresses:
        assert thread.is_alive()
        time.sleep(0.01)
    app.url, app.port = addresses[0], int(addresses[0].rsplit(":", 1)[1])
    try:
        yield app
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def service(tmp_path_factory, log):
    with serving(tmp_path_factory.mktemp("keys")) as app:
        yield app


def say(service, data, end=b"", seconds=5.0):
    """Send bytes; what comes back until the other side ends, or ``end`` comes."""
    with socket.create_connection(("127.0.0.1", service.port)) as link:
        link.settimeout(seconds)
        link.sendall(data)
        return heard(link, end)


def heard(link, end=b""):
    found = b""
    while not (end and end in found):
        part = link.recv(65536)
        if not part:
            break
        found += part
    return found


def status(answer):
    """Status of an answer whose body is a refusal of ours."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/json" in head
    assert set(json.loads(body)) == {"error", "message"}
    return int(head.split()[1])


def ask(service, token=ANN, method="GET", path="/keys/" + "0" * 64, **options):
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(method, service.url + path, headers=headers, timeout=10, **options)


def posted(path, length, token="", extra=""):
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\n{authorization}{extra}"
        f"{length}\r\n\r\n"
    ).encode()  # fmt: skip


RUN = f"Thex-Keys: {'0' * 64}\r\nThex-Run: {'0' * 32}\r\n"
LONG = "Content-Length: 700000000"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize("path", ["/keys", "/predict", "/nothing", "/info"])
@pytest.mark.parametrize("length", [LONG, CHUNKED])
def test_who_has_no_token_is_refused_before_a_byte_of_the_body(service, path, length):
    answer = say(service, posted(path, length, extra=RUN))
    assert status(answer) == {"/nothing": 404, "/info": 405}.get(path, 401)
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("path", ["/keys", "/predict"])
def test_who_has_one_is_refused_by_the_length(service, path):
    assert status(say(service, posted(path, LONG, ANN, RUN))) == 413
    piece = b"ffff\r\n" + b" " * 0xFFFF + b"\r\n"
    assert status(say(service, posted(path, CHUNKED, ANN, RUN) + piece)) == 413


def test_a_body_sent_on_after_a_refusal_is_dropped_and_the_answer_arrives(service):
    answer = httpx.post(f"{service.url}/keys", content=bytes(30_000_000), timeout=10)
    assert answer.status_code == 401


def test_who_resets_the_connection_leaves_no_mark(service, log):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", service.port)) as link:
            link.sendall(posted("/keys", LONG) + bytes(100_000))
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ask(service).status_code == 200
    assert "Exception" not in log.getvalue()


def test_headers_that_do_not_end_are_late_and_silence_is_ended(service):
    assert status(say(service, b"GET /hea")) == 408
    assert say(service, b"") == b""
    kept = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    assert status(say(service, kept + b"GET /").split(b'"ok"}')[1]) == 408


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x00\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9000, 431),
        (posted("/predict", CHUNKED, ANN, RUN) + b"no chunk\r\n", 400),
    ],
)
def test_what_is_no_http_gets_json(service, data, expected):
    assert status(say(service, data)) == expected


def test_slow_bodies_end_by_silence_and_by_their_rate(service):
    begun = posted("/predict", "Content-Length: 900", ANN, RUN)
    assert status(say(service, begun + b"x")) == 408
    with socket.create_connection(("127.0.0.1", service.port)) as link:
        link.sendall(begun)
        for _ in range(4):
            link.sendall(b"x")
            time.sleep(0.2)
        assert status(heard(link)) == 408


def test_one_owners_slow_bodies_take_a_share_and_no_more(tmp_path):
    begun = posted("/predict", "Content-Length: 900", BOB, RUN)
    patient = replace(BOUNDS, idle_seconds=60.0, body_seconds=60.0)
    with serving(tmp_path, patient) as service:
        links = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(8)]
        try:
            for link in links:
                link.sendall(begun)
            answered, _, _ = select.select(links, [], [], 30)  # the others wait for the rest
            refused = heard(answered[0], b"}")
            assert status(refused) == 429
            assert b"retry-after: 1" in refused.lower()
            assert ask(service, BOB).status_code == 429
            assert ask(service, ANN).status_code == 200
        finally:
            for link in links:
                link.close()


@pytest.mark.parametrize("data", [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_many_idle_connections_lock_nobody_out(service, data):
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {ANN}"}) as kept:
        assert kept.get("/keys/" + "0" * 64).status_code == 200
        (mine,) = kept._transport._pool.connections
        links = []
        try:
            for _ in range(40):
                links.append(socket.create_connection(("127.0.0.1", service.port)))
                links[-1].sendall(data)
            assert ask(service).status_code == 200  # a new one gets in
            assert kept.get("/keys/" + "0" * 64).status_code == 200
            assert kept._transport._pool.connections == [mine]  # an owner's goes last
            assert service.state.connections.open <= BOUNDS.connections_per_address
        finally:
            for link in links:
                link.close()
    shown = httpx.get(f"{service.url}/metrics").text
    assert "thex_connections_shed" in shown


def test_who_does_not_take_an_answer_is_cut_off(service):
    with socket.create_connection(("127.0.0.1", service.port)) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        link.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        for _ in range(100):
            if service.state.connections.open == 0:
                break
            time.sleep(0.1)
        assert service.state.connections.open == 0


@pytest.mark.parametrize("path", ["/health", "/info", "/metrics", "/openapi.json"])
def test_head_is_get_without_a_body(service, path):
    head, get = httpx.head(service.url + path), httpx.get(service.url + path)
    assert (head.status_code, head.content) == (200, b"")
    if path != "/metrics":
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/predict", "DELETE, POST"),
        ("/keys", "POST"),
        ("/keys/" + "0" * 64, "DELETE, GET, HEAD, PUT"),
        ("/health", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(service, path, allowed):
    answer = httpx.request("PATCH", service.url + path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert set(answer.json()) == {"error", "message"}


def test_every_line_of_the_log_is_one_object_and_none_has_a_token(service, log):
    """The log of everything that the tests above did, and of some more."""
    say(service, f"GET /\x7f%0a%0d%1b HTTP/1.1\r\nHost: x\r\nX: {ANN}\r\n\r\n".encode(), b"}")
    ask(service, path="/keys/%0a%00%1b[31m{" + ANN)
    logging.getLogger("thex_hf.serving.http").error("two\nlines\x1b", exc_info=ValueError("a\nb"))
    for _ in range(50):
        if "two" in log.getvalue():
            break
        time.sleep(0.02)
    lines = log.getvalue().splitlines()
    assert len(lines) > 10
    for line in lines:
        assert {"time", "level", "event"} <= set(json.loads(line))
        assert line.isprintable()
    assert ANN not in log.getvalue()
    assert BOB not in log.getvalue()


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_silence_before_tls_locks_nobody_out(tmp_path):
    names = {"private_key": tmp_path / "key.pem", "certificate": tmp_path / "cert.pem"}
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    made = [*make, "-keyout", str(names["private_key"]), "-out", str(names["certificate"])]
    subprocess.run(made, check=True, capture_output=True)
    with serving(tmp_path / "keys", **names) as service:
        links = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(40)]
        time.sleep(0.2)
        answer = httpx.post(f"{service.url}/keys", content=bytes(3_000_000), verify=False)
        assert answer.status_code == 401
        assert service.state.connections.open <= BOUNDS.connections_per_address
        for link in links:
            link.close()


def test_a_crowd_at_the_door_comes_in_one_by_one():
    (listener,) = listen("127.0.0.1", 0, ConnectionLimits(BOUNDS))
    with listener:
        listener.listen()
        crowd = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        for _ in crowd:
            listener.accept()[0].close()
            with pytest.raises(BlockingIOError):
                listener.accept()
        for link in crowd:
            link.close()


def test_a_place_where_nobody_can_listen_is_said(service, tmp_path):
    app = make_app(Served({"protocol": "one-shot"}, 1), IdleWorkers(), KeyFolder(tmp_path))
    for place in ({"port": service.port}, {"host": "no.such.host.invalid", "everybody": True}):
        with pytest.raises(OptionError, match="cannot listen at"):
            HttpServer(app, ListenOptions(**place))
