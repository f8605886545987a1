"""A model's folder as an Inference Endpoint: the handler in it, called as the platform does."""

import base64
import importlib.util
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from served import load
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli.main import commands
from thex_hf.client.client import ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.client.http import EndpointTransport, HttpTransport, open_transport
from thex_hf.endpoint.endpoint import save_handler
from thex_hf.endpoint.spec import spec_of
from thex_hf.errors import ConversionError, KeyMismatch, OptionError, WireError
from thex_hf.modeling.opening import open_model

TEXT = "A warm, funny film."
NAMES = {"keys": "0" * 64, "run": "0" * 32}


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endpoint")
    shutil.copytree(thex_hf.bundled_checkpoint("polynomial"), folder, dirs_exist_ok=True)
    done = CliRunner().invoke(commands, ["endpoint-handler", str(folder), "--json"])
    paths = [Path(path) for path in json.loads(done.stdout)["files"]]
    assert [path.name for path in paths] == ["handler.py", "requirements.txt"]
    spec = importlib.util.spec_from_file_location("handler", paths[0])
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("THEX_HF_PROTOCOL", "one-shot")
        environment.setenv("THEX_HF_BUCKETS", "16")
        environment.setenv("THEX_HF_KEYS", str(tmp_path_factory.mktemp("keys")))
        spec.loader.exec_module(module)
        made = module.EndpointHandler(str(folder))
    yield made
    made.endpoint.close()


@pytest.fixture(scope="module")
def address(handler):
    """What the platform puts round a handler: JSON over HTTP."""

    class Platform(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = json.dumps(handler(json.loads(body))).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Platform) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"endpoint+http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_a_text_is_classified_by_an_endpoint(address):
    """On ciphertexts of the real engine, with one request for the text."""
    half = ClientHalf.open(thex_hf.bundled_checkpoint("polynomial"))
    client = ThexClient(half, open_transport(address, token="of the platform"))
    answer = client.classify(TEXT)
    from transformers import AutoTokenizer

    row = AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())(TEXT, return_tensors="pt")
    want = load("polynomial")(**row).logits[0].detach().numpy()
    np.testing.assert_allclose(answer.logits, want, atol=0.03)
    assert (answer.label, answer.result.rounds) == ("POSITIVE", 1)
    (keys,) = client.client.made.values()
    client.server.delete_keys(keys.name)
    client.server.give_up(keys.name, "0" * 32)
    with pytest.raises(KeyMismatch, match="send it first"):
        client.server.answer(b"x", keys.name, "0" * 32)


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        ({}, "WireError", "'op' should be"),
        ("text", "WireError", "expected"),
        ({"op": "begin", "name": "x", "size": 1}, "WireError", "64 hex digits"),
        ({"op": "begin", "name": "0" * 64, "size": "1"}, "WireError", "1 to"),
        ({"op": "begin"}, "WireError", "'name'"),
        ({"op": "write", "name": "0" * 64, "offset": 0, "data": ""}, "KeyMismatch", "announced"),
        ({"op": "write", "name": "0" * 64, "offset": True}, "WireError", "'offset'"),
        ({"op": "answer", **NAMES, "data": 3}, "WireError", "base64"),
        ({"op": "answer", **NAMES, "data": "%%%"}, "WireError", "base64"),
        ({"op": "answer", **NAMES, "data": "A" * 90_000_000}, "WireError", "at most"),
        ({"op": "answer", "data": ""}, "WireError", "'keys'"),
        ({"op": "answer", **NAMES, "data": "YQ=="}, "KeyMismatch", "send it first"),
    ],
)
def test_requests_that_make_no_sense(handler, order, error, words):
    answer = handler({"inputs": order})
    assert answer["error"] == error
    assert words in answer["message"]


def test_bad_keys_are_dropped(handler, address):
    with pytest.raises(WireError, match="truncated or damaged"):
        open_transport(address).send_keys(b"no keys")
    assert handler({}).keys() == {"error", "message"}
    whole = base64.b64encode(b"no keys").decode()
    again = {"op": "write", "name": "0" * 64, "offset": 0, "data": whole}
    assert handler({"inputs": again})["error"] == "KeyMismatch"


def test_the_handler_is_written_on_request_and_never_over_anothers(tmp_path):
    with pytest.raises(ConversionError, match=r"no config\.json"):
        save_handler(tmp_path, "1")
    (tmp_path / "config.json").touch()
    (tmp_path / "handler.py").write_text("mine")
    with pytest.raises(ConversionError, match="is there already"):
        save_handler(tmp_path, "1")
    save_handler(tmp_path, "1", overwrite=True)
    save_handler(tmp_path, "1")  # the same again is no harm
    assert (tmp_path / "requirements.txt").read_text() == "thex_hf>=1\n"


def test_an_endpoint_installs_what_it_is_told_to(tmp_path):
    (tmp_path / "config.json").touch()
    own = "thex_hf @ git+https://host.example/thex_hf.git"
    command = ["endpoint-handler", str(tmp_path), "--requirement", own]
    assert CliRunner().invoke(commands, command).exit_code == 0
    assert (tmp_path / "requirements.txt").read_text() == own + "\n"
    with pytest.raises(ConversionError, match="is there already"):
        save_handler(tmp_path, "1")


def test_addresses_and_models(tmp_path):
    assert isinstance(open_transport("endpoint+https://x.example"), EndpointTransport)
    assert isinstance(open_transport("https://x.example"), HttpTransport)
    with pytest.raises(OptionError, match="in clear"):
        open_transport("endpoint+http://x.example", "token")
    with pytest.raises(OptionError, match="file of certificates"):
        open_transport("https://x.example", verify=str(tmp_path / "none.pem"))
    with pytest.raises(ConversionError, match="cannot load"):
        open_model(str(tmp_path / "nothing"))
    model = load()
    with pytest.raises(OptionError, match="cannot be served"):
        spec_of(model, str(tmp_path), backend="concrete")
    with pytest.raises(OptionError, match="polynomial"):
        spec_of(model, str(tmp_path), protocol="refresh")


def test_an_endpoint_takes_the_bound_of_encoded_weights(monkeypatch, tmp_path):
    found = []
    monkeypatch.setattr("thex_hf.endpoint.endpoint.Endpoint", lambda spec, _: found.append(spec))
    monkeypatch.setenv("THEX_HF_KEYS", str(tmp_path))
    words = {}
    exec(files("thex_hf.endpoint").joinpath("handler.py.txt").read_text(), words)
    for memory in ("", "2.5"):
        monkeypatch.setenv("THEX_HF_WEIGHTS_MEMORY", memory)
        words["EndpointHandler"](str(thex_hf.bundled_checkpoint("the-x")))
    assert [spec.plaintext_bytes for spec in found] == [None, 2.5e9]
