"""What the page shows of one text, at one moment, and that as HTML.

Three panels, the answer, the cost bars, bytes as grey pictures.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from numpy.typing import NDArray

from thex_hf._extras import require
from thex_hf.circuits.protocols import LEARNS
from thex_hf.ckks.engine import Vector
from thex_hf.client.preparation import Prepared
from thex_hf.client.scores import best
from thex_hf.prepared.plan import PROTOCOL as PREPARED

PANELS = ("client", "wire", "server", "answer")
MOST_TOKENS = 40
HEX_ROWS = 4
HEX_COLUMNS = 8
WIDTH = 96
"""Pixels in a row of bytes."""

Update = Callable[[Mapping[str, Any]], None]
"""Is told which fields of the view state have changed, by name."""

KEYS, PUBLIC_KEY = "evaluation keys", "public key"
"""What crosses once for a visitor: the second under ``prepared``."""


@dataclass(frozen=True)
class WireMessage:
    """One message that crossed the wire.

    Args:
        up: from client to server.
        name: what it is: keys, request, a visit's name, reply, answer.
        size: bytes.
        excerpt: a piece of it from inside a ciphertext or key.
    """

    up: bool
    name: str
    size: int
    excerpt: bytes


@dataclass(frozen=True)
class Prediction:
    """A label, its score, and the logits ``(labels,)``."""

    label: str
    score: float
    logits: Vector

    @classmethod
    def of(cls, logits: Vector, config: Mapping[str, Any]) -> Prediction:
        """The most probable label, by a model's configuration."""
        first = best(logits, config)
        return cls(str(first["label"]), float(first["score"]), logits)


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds; keys and encoding are paid once."""

    keys: float = 0.0
    encoding: float = 0.0
    client: float = 0.0
    server: float = 0.0


@dataclass(frozen=True)
class ViewState:
    """One text on its way.

    Args:
        protocol: that it runs under.
        engine: that encrypts; ``clear`` does not.
        status: ``idle``, ``running``, ``answered`` or ``failed``.
        activity: what happens now, in a sentence.
        active: who is at work: ``client`` or ``server``.
        tokens: of the text; the client's.
        unknown: the token that the tokenizer puts for what its vocabulary lacks, if it has one.
        embeddings: ``(n, d)``; the client's.
        facts: of the plan, which both sides know.
        key_bytes: of this visitor's evaluation keys, once the server has them.
        encoded: plaintexts of the weights done, and of how many.
        key_switches: done, and of how many.
        tickets: this visitor's that are left, by padded length; only under ``prepared``.
        preparing: messages answered of those that prepare a batch of tickets, and of how many.
        batch: what it cost to prepare the batch that the text's ticket is of.
        all_messages: so far, keys first if they crossed this time.
        rounds: of the plan.
        seconds: so far.
        answer: decrypted by the client.
        clear: of the same model without encryption, for comparison.
        error: in words for a reader.
    """

    protocol: str = "client-aided"
    engine: str = "seal"
    status: str = "idle"
    activity: str = ""
    active: str = "client"
    tokens: tuple[str, ...] = ()
    unknown: str = ""
    embeddings: Vector | None = None
    facts: Mapping[str, int] | None = None
    key_bytes: int = 0
    encoded: tuple[int, int] = (0, 0)
    key_switches: tuple[int, int] = (0, 0)
    tickets: Mapping[int, int] = field(default_factory=dict)
    preparing: tuple[int, int] = (0, 0)
    batch: Prepared | None = None
    all_messages: tuple[WireMessage, ...] = ()
    rounds: int = 0
    seconds: Seconds = Seconds()
    answer: Prediction | None = None
    clear: Prediction | None = None
    error: str = ""

    @property
    def text_messages(self) -> tuple[WireMessage, ...]:
        """Those of the text, without the keys."""
        return tuple(one for one in self.all_messages if one.name not in (KEYS, PUBLIC_KEY))

    def bytes(self, *, up: bool) -> int:
        """That crossed one way for this text."""
        return sum(one.size for one in self.text_messages if one.up is up)


def render(state: ViewState) -> tuple[str, ...]:
    """The HTML of each of :data:`PANELS`."""
    values = {"state": state, **_values(state)}
    return tuple(_template(name).render(**values) for name in PANELS)


def _values(state: ViewState) -> dict[str, Any]:
    last = state.all_messages[-1] if state.all_messages else None
    return {
        "last": last,
        "cipher": picture_of_bytes(last.excerpt) if last else "",
        "plain": "" if state.embeddings is None else picture_of_numbers(state.embeddings),
        "hexes": _hexes(last.excerpt) if last else [],
        "learns": LEARNS[state.protocol],
        "prepared": state.protocol == PREPARED,
        "keys": PUBLIC_KEY if state.protocol == PREPARED else KEYS,
        "encrypts": state.engine != "clear",
        "width": 2 * WIDTH,
        "most_tokens": MOST_TOKENS,
        "times": _bars(_times(state)),
        "sizes": _bars(_sizes(state)),
        "difference": _difference(state),
    }


def _hexes(data: bytes) -> list[str]:
    rows = [data[i : i + HEX_COLUMNS] for i in range(0, HEX_ROWS * HEX_COLUMNS, HEX_COLUMNS)]
    return [row.hex(" ") for row in rows if row]


def _times(state: ViewState) -> list[tuple[str, float, str]]:
    seconds = state.seconds
    parts = [
        ("client", seconds.client),
        ("server", seconds.server),
        ("encoding weights, once", seconds.encoding),
        ("keys, once", seconds.keys),
        ("its ticket, before", state.batch.seconds / state.batch.tickets if state.batch else 0.0),
    ]
    return [(name, value, f"{value:.2f} s") for name, value in parts if value]


def _sizes(state: ViewState) -> list[tuple[str, float, str]]:
    batch = state.batch
    ticket = (batch.bytes_up + batch.bytes_down) // batch.tickets if batch else 0
    parts = [
        ("up", state.bytes(up=True)),
        ("down", state.bytes(up=False)),
        ("keys, once", state.key_bytes),
        ("its ticket, before", ticket),
    ]
    return [(name, float(value), f"{value / 1e6:.1f} MB") for name, value in parts if value]


def _bars(parts: list[tuple[str, float, str]]) -> list[dict[str, Any]]:
    total = sum(value for _, value, _ in parts) or 1.0
    return [
        {"name": name, "words": words, "share": round(100.0 * value / total, 2)}
        for name, value, words in parts
    ]


def _difference(state: ViewState) -> float | None:
    if state.answer is None or state.clear is None:
        return None
    return float(abs(state.answer.logits - state.clear.logits).max())


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("thex_hf.demo", "panels"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.html.j2")


def picture_of_bytes(data: bytes) -> str:
    """One byte a pixel, rows of :data:`WIDTH`, as a ``data:`` address; empty for too few bytes."""
    rows = len(data) // WIDTH
    if not rows:
        return ""
    return _png(np.frombuffer(data[: rows * WIDTH], np.uint8).reshape(rows, WIDTH))


def picture_of_numbers(values: Vector) -> str:
    """A matrix ``(rows, columns)`` as a ``data:`` address: its lowest number black."""
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low or 1.0) * 255.0
    return _png(scaled.round().astype(np.uint8))


def _png(pixels: NDArray[np.uint8]) -> str:
    image = require("PIL.Image", install="'thex_hf[demo]'", purpose="a picture of ciphertext")
    file = io.BytesIO()
    image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
