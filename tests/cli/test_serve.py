"""``thex-hf serve`` and ``classify --backend remote`` as processes with only TCP between."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.main import commands
from thex_hf.client.client import ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.client.http import HttpTransport
from thex_hf.errors import BackendUnavailable, ConnectionLost, OptionError, SecurityError
from thex_hf.serving.tickets import TicketLimits

TOKEN = "a token that is long enough".replace(" ", "-")


def thex(*arguments):
    return [sys.executable, "-m", "thex_hf.cli.main", *map(str, arguments)]


@contextmanager
def served(*options):
    """The command in a process of its own; its address."""
    command = thex("serve", "--port", 0, "--bucket", 16, "--workers", 1, "--json", *options)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield json.loads(line)["url"], process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    tokens = folder / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(f"ann {TOKEN}\n")
    with served("--keys", folder / "keys", "--tokens", tokens) as (url, _):
        yield url


def remote(address, *arguments, token=TOKEN, **environment):
    command = thex("classify", "--backend", "remote", "--url", address, "--json", *arguments)
    environment = {**os.environ, "THEX_HF_TOKEN": token, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.slow
def test_a_text_is_classified_by_a_server_in_another_process(address):
    done = remote(address, "--agreement", "A warm, funny and beautifully acted film. 🎬")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["label"] == "POSITIVE"
    assert record["backend"] == "remote"
    assert record["agreement"]["same_label"]
    assert record["agreement"]["largest_logit_difference"] < 0.05


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    place = tmp_path_factory.mktemp("client") / "half"
    return ClientHalf.open(thex_hf.bundled_checkpoint()).save(place)


def test_a_client_without_torch_needs_its_half_only(address, half, tmp_path):
    arguments = ("--model", half, "--keys", tmp_path / "keys", "Dull.")
    done = remote(address, *arguments, THEX_HF_NO_TORCH="1")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["label"], record["rounds"]) == ("NEGATIVE", 4)
    refused = remote(address, *arguments, "--agreement", THEX_HF_NO_TORCH="1")
    assert "OptionError: --agreement needs the whole model" in refused.stderr


@pytest.mark.slow
def test_a_client_without_torch_skips_or_names_texts_too(address, half):
    texts = ("Dull.", " ", "word " * 40)
    arguments = ("--model", half, *texts)
    done = remote(address, *arguments, "--on-error", "skip", THEX_HF_NO_TORCH="1")
    assert done.returncode == 0, done.stderr
    first, *rest = (json.loads(line) for line in done.stdout.splitlines())
    assert first["label"] == "NEGATIVE"
    assert [row["row"] for row in rest] == [2, 3]
    assert "42 tokens, the server takes 16" in rest[1]["error"]
    refused = remote(address, *arguments, THEX_HF_NO_TORCH="1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "InputError: text 2: the text is empty" in refused.stderr
    wrong = remote(address, *arguments, "--ring", "8192", THEX_HF_NO_TORCH="1")
    assert "--ring needs the whole model" in wrong.stderr


@pytest.mark.slow
def test_a_client_without_torch_writes_answers_to_a_file(address, half, tmp_path):
    data, out = tmp_path / "texts.jsonl", tmp_path / "out.csv"
    data.write_text('{"text": "Dull."}\n{"text"\n')
    arguments = ("--model", half, "--file", data, "--output", out, "--on-error", "skip")
    for before in (0, 2):  # the second time there is nothing left to do
        done = remote(address, *arguments, THEX_HF_NO_TORCH="1")
        assert done.returncode == 0, done.stderr
        counts = {"texts": 2, "before": before, "skipped": 0 if before else 1}
        assert json.loads(done.stdout) == {"output": str(out), **counts}
    header, first, second = out.read_text().splitlines()
    assert header == "row,text,label,score,error"
    assert first.startswith("1,Dull.,NEGATIVE,0.")
    assert second.startswith('2,,,,"cannot be read as JSON')
    refused = remote(address, *arguments, "--protocol", "refresh", THEX_HF_NO_TORCH="1")
    assert "protocol was None and is 'refresh'" in refused.stderr


@pytest.mark.parametrize(("token", "words"), [("", "send Authorization"), ("other", "not known")])
def test_a_token_is_asked_for(address, half, token, words):
    done = remote(address, "--model", half, "Dull.", token=token, THEX_HF_NO_TORCH="1")
    assert done.returncode == 1
    assert "AccessError" in done.stderr
    assert words in done.stderr


@pytest.mark.slow
def test_a_server_killed_in_mid_upload_goes_on_when_it_is_back(half, tmp_path):
    """Keys that are on disk count after a restart, half a file as well as a whole one."""
    opened = ClientHalf.open(half)
    with served("--keys", tmp_path / "served") as (url, process):
        client = ThexClient(opened, HttpTransport(url, piece=1 << 20), tmp_path / "keys")
        plan = client.client.plan(16)
        keys = client.client.make_keys(plan)
        name, size = hashlib.sha256(keys.file).hexdigest(), len(keys.file)
        client.server._begin(name, size)
        client.server._write(name, 0, keys.file[: 1 << 20])
        process.kill()
        with pytest.raises(ConnectionLost, match="is it running"):
            HttpTransport(url, patience=0.0).send_keys(keys.file)
    with served("--keys", tmp_path / "served") as (url, _):
        transport = HttpTransport(url)
        assert transport._begin(name, size)["received"] == 1 << 20
        assert transport.send_keys(keys.file) == name
    with served("--keys", tmp_path / "served") as (url, _):
        transport = HttpTransport(url)
        assert transport._begin(name, size)["complete"]
        client = ThexClient(opened, transport, tmp_path / "keys")
        assert client.classify("Dull.").label == "NEGATIVE"


@pytest.mark.slow
def test_its_log_is_json_lines_whatever_comes_and_it_stops_when_told_to(tmp_path):
    with served("--keys", tmp_path / "keys") as (url, process):
        port = int(url.rsplit(":", 1)[1])
        for data in (b"\x16\x03\x01\r\n\r\n", b"GET /%0a%1b[31m HTTP/1.1\r\nHost: x\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as link:
                link.sendall(data)
                assert link.recv(4096).startswith(b"HTTP/1.1 40")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert [line["status"] for line in lines] == [400, 404]


def invoke(*arguments):
    return CliRunner().invoke(commands, list(arguments)).exception


def test_wrong_options_are_refused_before_anything_is_loaded(monkeypatch):
    assert isinstance(invoke("serve", "--host", "0.0.0.0"), SecurityError)
    assert isinstance(invoke("serve", "--bucket", "17"), OptionError)
    assert isinstance(invoke("serve", "--backend", "clear"), OptionError)
    assert isinstance(invoke("serve", "--workers", "0"), OptionError)
    assert isinstance(invoke("serve", "--connections", "0"), SystemExit)
    assert isinstance(invoke("serve", "--protocol", "refrsh"), OptionError)
    assert isinstance(invoke("classify", "--backend", "remote", "x"), OptionError)
    assert isinstance(invoke("classify", "--url", "http://localhost:1", "x"), OptionError)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    error = invoke("serve")
    assert isinstance(error, BackendUnavailable)
    assert "pip install 'thex_hf[serve]'" in str(error)


def test_bounds_of_tickets_and_memory_reach_what_is_served(monkeypatch, tmp_path):
    found = []
    monkeypatch.setattr(
        "thex_hf.serving.http.serve.serve", lambda spec, *_, **__: found.append(spec)
    )
    bounds = ("--ticket-days", 2, "--ticket-batches", 9, "--ticket-batches-per-keys", 3)
    for words in (
        ("--protocol", "prepared", *bounds, "--preparations", 5),
        ("--protocol", "prepared"),
        ("--weights-memory", 1.5),
    ):
        words = ("serve", "--bucket", 16, "--keys", tmp_path, "--json", *words)
        done = CliRunner().invoke(commands, list(map(str, words)))
        assert done.exit_code == 0, done.output
    told, usual, bound = found
    assert told.tickets == TicketLimits(keys=3, total=9, seconds=2 * 86400.0)
    assert (told.preparations, usual.preparations) == (5, 0)
    assert told.server().info()["ticket_batches"] == 3
    assert told.server().info()["ticket_seconds"] == 2 * 86400.0
    assert usual.tickets == TicketLimits()
    assert (usual.plaintext_bytes, bound.plaintext_bytes) == (None, 1.5e9)
