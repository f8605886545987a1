"""What a server says in an error reaches no terminal and no log as it is."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thex_hf._shown import printable
from thex_hf.cli import main
from thex_hf.client.connection import HttpConnection, told
from thex_hf.client.http import EndpointTransport
from thex_hf.errors import BusyError, ConnectionLost, InputError, RangeError, ThexError

EVIL = "\x1b]0;owned\x07\x1b[2J\r\nthex-hf: all is well\u202e\u2066\x9b31m\ud800\u2028 caf\u00e9"
SAFE = (
    r"\x1b]0;owned\x07\x1b[2J\r\nthex-hf: all is well\u202e\u2066\x9b31m\ud800\u2028 caf" + "\u00e9"
)


def test_what_cannot_be_seen_is_escaped():
    assert printable(EVIL) == SAFE
    assert printable("plain text, 漢字 🙂") == "plain text, 漢字 🙂"


@given(st.text())
def test_any_text_becomes_one_printable_line(text):
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert (shown == text) == text.isprintable()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("RangeError", RangeError),
        ("BusyError", BusyError),
        (EVIL, ConnectionLost),
        ("os", ConnectionLost),
    ],
)
def test_errors_that_a_server_tells(name, kind):
    error = told({"error": name, "message": EVIL * 500})
    assert type(error) is kind
    assert str(error).isprintable()
    assert SAFE in str(error)
    assert len(str(error)) < 20_000


@pytest.mark.parametrize("answer", [[], {}, {"message": EVIL}, None, "error"])
def test_what_is_no_error(answer):
    assert told(answer) is None


def test_an_endpoint_that_answers_with_an_error(monkeypatch):
    transport = EndpointTransport("http://127.0.0.1:9")
    monkeypatch.setattr(
        HttpConnection, "json", lambda *_, **__: {"error": "InputError", "message": EVIL}
    )
    with pytest.raises(InputError) as caught:
        transport.info()
    assert str(caught.value) == SAFE


def test_the_command_line_shows_every_error_so(monkeypatch, capsys):
    def fail():
        raise ThexError(f"first line\n{EVIL}")

    monkeypatch.setattr(main, "commands", fail)
    monkeypatch.setattr(sys, "argv", ["thex-hf"])
    with pytest.raises(SystemExit):
        main.app()
    shown = capsys.readouterr().err
    assert shown.startswith("thex-hf: ThexError: first line\n")
    assert all(line.isprintable() for line in shown.splitlines())
    assert len(shown.splitlines()) == 3  # a line end of an error of ours is one
