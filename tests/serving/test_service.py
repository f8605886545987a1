"""The HTTP service with real workers: answers, keys, owners, refusals."""

import json
import os
import re
import signal
import socket
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from serving.conftest import TOKENS

from thex_hf.client.client import ThexClient
from thex_hf.client.http import HttpTransport
from thex_hf.errors import (
    AccessError,
    BusyError,
    ConnectionLost,
    ExpiredError,
    KeyMismatch,
    OptionError,
    QuotaError,
    SecurityError,
    TooLargeError,
    WireError,
)
from thex_hf.protocol.client import ClientRun
from thex_hf.serving.http.serve import ListenOptions
from thex_hf.serving.http.settings import BearerTokens, Settings

TEXTS = ["A warm, funny film.", "Dull.", "Dreadful, and far too long. 🙄", "Not bad at all!"]


def clear(model, text):
    from transformers import AutoTokenizer

    import thex_hf

    row = AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())(text, return_tensors="pt")
    return model(**row).logits[0].detach().numpy()


def prepared(client, text=TEXTS[0]):
    embeddings = client.half.embed(*client.half.tokenise(text))
    plan = client.client.plan(len(embeddings))
    keys = client.client.keys_for(plan)
    return ClientRun(plan, keys.engine, keys.key_id, embeddings), keys


def test_many_clients_get_their_own_answers(client, model):
    people = [client(owner) for owner in ("ann", "bob", "ann")]
    asked = [(person, text) for text in TEXTS for person in people]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: one[0].classify(one[1]), asked))
    for (_, text), answer in zip(asked, answers, strict=True):
        np.testing.assert_allclose(answer.logits, clear(model, text), atol=1e-3)


def test_info_says_what_a_client_needs_and_what_is_learned(transport):
    info = transport(None).info()
    assert info["protocol"] == "client-aided"
    assert "the text is protected, the model is not" in info["learns"]
    assert info["tokens"] is True
    assert set(info["plans"]) == {"16"}
    assert info["message_bytes"] > 10_000


def test_keys_come_in_pieces_and_go_on_after_a_break(client, service):
    person = client("bob")
    run, keys = prepared(person)
    http, name = person.server, keys.name
    assert http.link.json("GET", f"/keys/{name}")["complete"]
    http.link.send("DELETE", f"/keys/{name}")
    assert http.link.json("GET", f"/keys/{name}") == {
        "name": name,
        "size": 0,
        "received": 0,
        "complete": False,
    }
    with pytest.raises(KeyMismatch, match="send it first"):
        http.answer(run.request(), name, run.run)
    half = len(keys.file) // 2
    http.link.json("POST", "/keys", json={"name": name, "size": len(keys.file)})
    http.link.json("PUT", f"/keys/{name}", params={"offset": 0}, content=keys.file[:half])
    with pytest.raises(KeyMismatch, match=f"{half} of"):
        http.answer(run.request(), name, run.run)
    with pytest.raises(WireError, match=f"expected a piece at {half}"):
        http.link.json("PUT", f"/keys/{name}", params={"offset": 10}, content=b"x")
    assert http.send_keys(keys.file) == name  # goes on there
    assert http.answer(run.request(), name, run.run)
    place = service.repository.folder
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}


def test_keys_that_the_server_lost_are_sent_again(client):
    person = client()
    person.classify(TEXTS[0])
    _, keys = prepared(person)
    person.server.link.send("DELETE", f"/keys/{keys.name}")
    assert person.classify(TEXTS[0]).label == "POSITIVE"


def test_keys_that_were_damaged_on_the_servers_disk_are_sent_again(client, service):
    person = client()
    person.classify(TEXTS[0])
    _, keys = prepared(person)
    (path,) = service.repository.folder.glob(f"*-{keys.name}.keys")
    path.write_bytes(bytes(path.stat().st_size))
    for worker in service.app.state.pool._workers:  # who has them in memory
        os.kill(worker.handle.pid, signal.SIGKILL)
    assert person.classify(TEXTS[0]).label == "POSITIVE"
    assert path.read_bytes() == keys.file


def test_bad_keys_are_refused_and_leave_nothing(transport, service):
    http = transport()
    before = set(service.repository.folder.iterdir())
    with pytest.raises(WireError, match="truncated or damaged"):
        http.send_keys(b"these are no keys")
    assert set(service.repository.folder.iterdir()) == before
    with pytest.raises(WireError, match="1 to 2000000 bytes"):
        http.send_keys(bytes(2_000_001))
    name = "0" * 64
    http.link.json("POST", "/keys", json={"name": name, "size": 3})
    with pytest.raises(WireError, match="altered on the way"):
        http.link.json("PUT", f"/keys/{name}", params={"offset": 0}, content=b"abc")
    for number in (b"1", b"2"):
        http.link.json("POST", "/keys", json={"name": number.hex() * 32, "size": 1_400_000})
    with pytest.raises(QuotaError, match="delete keys"):
        http.link.json("POST", "/keys", json={"name": "3" * 64, "size": 1_400_000})
    for number in (b"1", b"2"):
        http.link.send("DELETE", f"/keys/{number.hex() * 32}")


def test_tokens_are_asked_for_and_owners_kept_apart(client, transport):
    for owner, words in ((None, "asks for a token"), ("wrong token, but long", "not known")):
        with pytest.raises(AccessError, match=words):
            transport(owner).send_keys(b"x")
    ann, bob = client("ann"), client("bob")
    run, keys = prepared(ann)
    visit = ann.server.answer(run.request(), keys.name, run.run)
    reply = run.receive(visit)
    with pytest.raises(KeyMismatch, match="of yours"):
        bob.server.answer(run.request(), keys.name, run.run)
    other = prepared(bob)[1].name
    with pytest.raises(ExpiredError):
        bob.server.answer(reply, other, run.run)
    assert not bob.server.link.json("GET", f"/keys/{keys.name}")["complete"]
    bob.server.link.send("DELETE", f"/keys/{keys.name}")
    bob.server.give_up(keys.name, run.run)
    assert ann.server.answer(reply, keys.name, run.run)  # nothing happened to ann


def test_a_run_that_is_given_up_or_replayed(client):
    person = client()
    run, keys = prepared(person)
    reply = run.receive(person.server.answer(run.request(), keys.name, run.run))
    person.server.answer(reply, keys.name, run.run)
    with pytest.raises(WireError, match="expected the reply to step 1"):
        person.server.answer(reply, keys.name, run.run)
    person.server.give_up(keys.name, run.run)
    with pytest.raises(ExpiredError, match="send the text again"):
        person.server.answer(reply, keys.name, run.run)


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "words"),
    [
        ("POST", "/predict", {}, 400, "Thex-Keys: Field required"),
        ("POST", "/predict", {"headers": {"Thex-Keys": "x", "Thex-Run": "0" * 32}}, 400, "pattern"),
        ("POST", "/keys", {"json": {"name": "x", "size": 1}}, 400, "name"),
        ("POST", "/keys", {"json": {"name": "0" * 64, "size": "x"}}, 400, "size"),
        ("POST", "/keys", {"content": b"\xff\xfe{"}, 400, "malformed"),
        ("PUT", "/keys/" + "1" * 64, {"params": {"offset": 0}, "content": b"x"}, 409, "announced"),
        ("PUT", "/keys/" + "1" * 64, {"params": {"offset": -1}}, 400, "offset"),
        ("GET", "/keys/..%2f..%2fetc", {}, 404, "Not Found"),
        ("GET", "/keys/" + "G" * 64, {}, 400, "pattern"),
        ("GET", "/nothing", {}, 404, "Not Found"),
        ("PATCH", "/predict", {}, 405, "Not Allowed"),
    ],
)
def test_malformed_requests_are_refused_with_a_reason(
    service, method, path, options, status, words
):
    token = TOKENS["ann"].replace(" ", "_")
    headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
    answer = httpx.request(method, service.url + path, headers=headers, **options)
    assert answer.status_code == status
    assert words in answer.json()["message"]


def test_bodies_too_large_or_too_slow(service):
    token = TOKENS["ann"].replace(" ", "_")
    headers = {"Authorization": f"Bearer {token}", "Thex-Keys": "0" * 64, "Thex-Run": "0" * 32}
    answer = httpx.post(f"{service.url}/predict", headers=headers, content=bytes(20_000_000))
    assert answer.status_code == 413
    endless = httpx.post(
        f"{service.url}/predict", headers=headers, content=iter([bytes(1 << 20)] * 20)
    )
    assert endless.status_code == 413
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["POST /predict HTTP/1.1", "Host: x", "Content-Length: 100", *lines])
    for drip in (0.0, 0.5):
        with socket.create_connection(("127.0.0.1", service.port)) as link:
            link.settimeout(10)
            link.sendall(head.encode() + b"\r\n\r\nab")
            begin, answer = time.monotonic(), b""
            while not answer and time.monotonic() - begin < 8:
                if drip:
                    time.sleep(drip)
                    try:
                        link.sendall(b"c")
                        link.setblocking(False)
                        answer = link.recv(4096)
                    except BlockingIOError:
                        continue
                    except OSError:
                        break
                else:
                    answer = link.recv(4096)
            assert answer.startswith(b"HTTP/1.1 408")
    assert httpx.get(f"{service.url}/health").json() == {"status": "ok"}


def test_one_owners_slow_bodies_leave_room_for_others(service, transport):
    token = TOKENS["ann"].replace(" ", "_")
    lines = [f"Authorization: Bearer {token}", f"Thex-Keys: {'0' * 64}", f"Thex-Run: {'0' * 32}"]
    head = "\r\n".join(["POST /predict HTTP/1.1", "Host: x", "Content-Length: 100", *lines])
    links = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(6)]
    for link in links:
        link.sendall(head.encode() + b"\r\n\r\n")
    time.sleep(0.3)
    with pytest.raises(BusyError, match="3 requests of yours are being read"):
        transport(patience=0.0).answer(b"x", "0" * 64, "0" * 32)
    with pytest.raises(KeyMismatch):
        transport("bob", patience=0.0).answer(b"x", "0" * 64, "0" * 32)
    for link in links:
        link.close()


def test_a_client_that_goes_away_holds_nothing(service, client):
    token = TOKENS["ann"].replace(" ", "_")
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Thex-Keys: {'0' * 64}\r\nThex-Run: {'0' * 32}\r\nContent-Length: 1000\r\n\r\nabc"
    )
    with socket.create_connection(("127.0.0.1", service.port)) as link:
        link.sendall(head.encode())
    for _ in range(100):
        if service.app.state.bodies.open == 0:
            break
        time.sleep(0.05)
    assert service.app.state.bodies.open == 0
    assert client().classify(TEXTS[0]).label == "POSITIVE"


def test_a_worker_killed_in_mid_run_costs_a_second_try_only(service, client, model):
    person = client()
    person.classify(TEXTS[0])
    pool = service.app.state.pool
    stop = threading.Event()

    def kill():
        while not stop.is_set() and not pool.runs:
            time.sleep(0.005)
        os.kill(next(iter(pool._runs.values()))[0].handle.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    answer = person.classify(TEXTS[1])
    stop.set()
    killer.join()
    np.testing.assert_allclose(answer.logits, clear(model, TEXTS[1]), atol=1e-3)
    assert pool.replaced >= 1


def test_metrics_and_logs_have_no_payload(service, client, caplog):
    person = client()
    with caplog.at_level("INFO", logger="thex_hf.serving.http"):
        person.classify(TEXTS[2])
        for _ in range(50):
            if any("/predict" in record.getMessage() for record in caplog.records):
                break
            time.sleep(0.05)
    shown = httpx.get(f"{service.url}/metrics").text
    found = re.search(r'thex_requests_total\{route="/predict",status="200"\} (\d+)', shown)
    assert int(found[1]) >= 6
    lines = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    sent = [line for line in lines if line.get("route") == "/predict"]
    assert all(line["up"] > 1000 and line["owner"] == "ann" for line in sent)
    _, keys = prepared(person)
    for secret in (keys.name, TOKENS["ann"].replace(" ", "_"), "Dreadful"):
        assert secret not in shown + json.dumps(lines)


def test_what_is_no_server_of_ours(half):
    with pytest.raises(OptionError, match="http://host:8000"):
        HttpTransport("localhost:80")
    with pytest.raises(OptionError, match="in clear"):
        HttpTransport("http://example.org", token="secret")
    assert "secret" not in repr(HttpTransport("http://localhost:1", token="secret"))
    with pytest.raises(ConnectionLost, match="is it running"):
        ThexClient(half, HttpTransport("http://127.0.0.1:9"))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"plans": {}}', b'{"plans": {"16": 3}}'])
def test_a_server_that_says_other_things(half, body):
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises((ConnectionLost, WireError)):
            ThexClient(half, HttpTransport(f"http://127.0.0.1:{other.server_port}"))
        other.shutdown()


def test_who_may_listen_and_whose_tokens_are_read(tmp_path):
    with pytest.raises(SecurityError, match="--tokens FILE"):
        ListenOptions("0.0.0.0")
    ListenOptions("0.0.0.0", everybody=True)
    with pytest.raises(OptionError, match="both a certificate"):
        ListenOptions(certificate=tmp_path)
    with pytest.raises(OptionError, match="no file"):
        ListenOptions(certificate=tmp_path / "a", private_key=tmp_path / "b")
    with pytest.raises(OptionError, match="above zero: bodies"):
        Settings(bodies=0)
    path = tmp_path / "tokens"
    with pytest.raises(SecurityError, match="cannot read"):
        BearerTokens.read(path)
    path.touch(mode=0o600)
    for text in ("", "ann short", "an/n " + "x" * 20, "one two three"):
        path.write_text(text)
        with pytest.raises(SecurityError):
            BearerTokens.read(path)
    path.write_text("ann " + "x" * 20)
    assert BearerTokens.read(path).owner("x" * 20, "nobody") == "ann"
    assert "x" * 20 not in repr(BearerTokens.read(path))
    path.chmod(0o644)
    with pytest.raises(SecurityError, match="chmod 600"):
        BearerTokens.read(path)


def test_too_large_is_a_kind_of_its_own(transport):
    assert issubclass(TooLargeError, ValueError)
    run = "0" * 32
    with pytest.raises(TooLargeError, match="are the most here"):
        transport().answer(bytes(9_000_000), "0" * 64, run)
