"""Which way requests go, and what may be said in clear."""

import socket
import threading
from contextlib import contextmanager

import pytest

from thex_hf.client.http import open_transport
from thex_hf.errors import ConnectionLost, OptionError

TOKEN = "0123456789abcdef-secret"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@contextmanager
def listening():
    """A proxy that refuses; the bytes that came to it."""
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                seen.append(client.recv(65536))
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen


@pytest.fixture
def proxy(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with listening() as (address, seen):
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, address)
            monkeypatch.setenv(name.upper(), address)
        yield seen


def ask(url, token=None):
    with pytest.raises(ConnectionLost):
        open_transport(url, token, patience=0.0).info()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "LOCALHOST"])
@pytest.mark.parametrize("kind", ["http://", "https://", "endpoint+http://"])
def test_nothing_for_this_machine_goes_to_a_proxy(proxy, kind, host):
    ask(f"{kind}{host}:9", TOKEN)
    ask(f"{kind}{host}:9")
    assert proxy == []


def test_a_proxy_elsewhere_sees_no_token(proxy):
    ask("https://server.invalid:8000", TOKEN)
    assert proxy[0].startswith(b"CONNECT server.invalid:8000")
    assert TOKEN.encode() not in b"".join(proxy)
    with pytest.raises(OptionError, match="must not be sent in clear"):
        open_transport("http://server.invalid:8000", TOKEN)
    ask("http://server.invalid:8000")
    assert b"uthorization" not in b"".join(proxy)


def test_a_proxy_that_cannot_be_used(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "gopher://127.0.0.1:1")
    with pytest.raises(OptionError, match="proxy in the environment"):
        open_transport("https://server.invalid")
    ask("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("http://127.0.0.1.evil.invalid", {"token": TOKEN}, "in clear"),
        ("http://localhost.invalid", {"token": TOKEN}, "in clear"),
        ("https://me:secret@host", {}, "must not hold a name or password"),
        ("http://localhost:99999", {}, "should be like"),
        ("https://", {}, "should be like"),
        ("localhost:8000", {}, "should be like"),
        ("https://host", {"token": "a blank "}, "visible ASCII"),
        ("https://host", {"token": "line\n"}, "visible ASCII"),
        ("https://host", {"token": "caf\u00e9"}, "visible ASCII"),
        ("https://host", {"token": ""}, "visible ASCII"),
        ("http://localhost", {"verify": "ca.pem"}, "for an https address"),
        ("https://localhost", {"verify": "~/none.pem"}, "file of certificates"),
        ("https://localhost", {"verify": "~nobody-of-that-name/x"}, "no home directory"),
        ("https://localhost", {"verify": ""}, "verify is empty"),
    ],
)
def test_addresses_and_options_that_are_refused(url, options, reason):
    with pytest.raises(OptionError, match=reason) as caught:
        open_transport(url, **options)
    for secret in (TOKEN, "secret", "a blank "):
        assert secret not in str(caught.value)
