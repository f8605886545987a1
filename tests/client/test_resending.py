"""Keys that a server lost, damaged or cannot read are sent again, and the text after them."""

import numpy as np
import pytest
from served import Near, load

import thex_hf
from thex_hf.backends.registry import get_backend
from thex_hf.client.client import ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.client.http import ResumableUpload
from thex_hf.errors import ChildError, ConnectionLost, KeyMismatch, KeyStoreError, QuotaError
from thex_hf.serving.server import ThexServer


class Losing(Near):
    """Says once that keys are lost, after the first answer."""

    def __init__(self, server, error):
        super().__init__(server)
        self.error, self.sent, self.answers = error, 0, 0

    def send_keys(self, data):
        self.sent += 1
        return super().send_keys(data)

    def answer(self, data, keys, run):
        self.answers += 1
        if self.answers == 2:
            raise self.error
        return super().answer(data, keys, run)


@pytest.fixture(scope="module")
def server():
    model = load()
    ranges = model.config.ranges
    return ThexServer(model.encoder_weights(), get_backend("clear"), ranges, buckets=(16,))


@pytest.mark.parametrize("error", [KeyMismatch("gone"), KeyStoreError("no disk")])
def test_a_text_whose_keys_are_lost_comes_again_with_them(server, error):
    half = ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))
    transport = Losing(server, error)
    client = ThexClient(half, transport, backend="clear")
    client.client.pause = 0.0
    again = client.classify("A warm, funny film.").logits
    assert transport.sent == 2
    np.testing.assert_allclose(client.classify("A warm, funny film.").logits, again, atol=1e-3)
    assert transport.sent == 2


def test_a_run_whose_connection_was_cut_is_given_up_before_the_text_comes_again(server):
    half = ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))
    transport = Losing(server, ConnectionLost("cut"))
    client = ThexClient(half, transport, backend="clear")
    client.client.pause = 0.0
    client.classify("A warm, funny film.")
    assert transport.answers > 2
    assert len(server.runs) == 0


def test_keys_of_ones_own_that_cannot_be_read_are_said_at_once(server, tmp_path):
    half = ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))
    transport = Losing(server, KeyStoreError("of the server"))
    client = ThexClient(half, transport, tmp_path / "keys", backend="clear")
    client.classify("Dull.")
    for path in (tmp_path / "keys").rglob("*.key"):
        path.write_bytes(b"no key")
    other = ThexClient(half, transport, tmp_path / "keys", backend="clear")
    other.client.pause = 1e9
    with pytest.raises((KeyMismatch, KeyStoreError, ValueError)):
        other.classify("Dull.")


class Breaking(ResumableUpload):
    """Takes pieces, and breaks at chosen calls."""

    patience, piece = 30.0, 4

    def __init__(self, errors):
        self.errors, self.have = list(errors), b""

    def _begin(self, name, size):
        return {"received": len(self.have), "complete": len(self.have) == size}

    def _write(self, name, offset, data):
        if self.errors:
            error = self.errors.pop()
            if isinstance(error, KeyMismatch):
                self.have = b""  # dropped
            raise error
        self.have = self.have[:offset] + data
        return self._begin(name, 10)


@pytest.mark.parametrize("kind", [ConnectionLost, ChildError, KeyStoreError, KeyMismatch])
def test_a_key_file_is_begun_again(kind, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    other = Breaking([kind("x"), kind("x")])
    other.send_keys(b"0123456789")
    assert other.have == b"0123456789"
    with pytest.raises(QuotaError):
        Breaking([QuotaError("full")]).send_keys(b"0123456789")
    Breaking.patience = 0.0
    with pytest.raises(kind):
        Breaking([kind("x"), kind("x"), kind("x")]).send_keys(b"0123456789")
    Breaking.patience = 30.0
