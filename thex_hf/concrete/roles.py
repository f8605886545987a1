"""The two sides of a run, each with a worker of its own, joined by bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from thex_hf.approximations.activation import relu
from thex_hf.approximations.softmax import estimate, exact, load_reciprocal
from thex_hf.concrete.circuits import LayerFrames
from thex_hf.concrete.environment import Worker
from thex_hf.concrete.quantise import Block, Frame, Integers, Linear
from thex_hf.concrete.worker import pack_array, unpack_array
from thex_hf.weights import Array


class ServerRole:
    """Has the weights, compiles and runs circuits; cannot decrypt.

    Args:
        python: of Concrete's environment.
    """

    def __init__(self, python: Path) -> None:
        self.seconds = 0.0
        self._worker = Worker(python, "server")
        self._compiled: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, bytes] = {}
        self._generation = 0

    def compile(self, map_: Linear | Block) -> dict[str, Any]:
        """Compile one map, once; returns what the client needs, and Concrete's facts.

        Raises:
            ChildError: Concrete refused, or the worker died.
            BackendUnavailable: it cannot be started.
        """
        self._forget_if_new()
        frame = map_.frame
        if frame.name not in self._compiled:
            limits = [np.full(w, q.most) for q, w in zip(frame.inputs, frame.widths, strict=True)]
            op, details = _described(map_)
            self._compiled[frame.name] = self._worker.ask(
                op,
                name=frame.name,
                rows=frame.rows,
                most=pack_array(np.concatenate(limits)),
                **details,
            )
        return self._compiled[frame.name]

    def has(self, name: str) -> bool:
        """Whether a map is compiled in the worker that runs now."""
        self._forget_if_new()
        return name in self._compiled

    def take_keys(self, name: str, keys: bytes) -> None:
        """Hold a client's evaluation keys for one map, until others come or the worker dies."""
        if self._keys.get(name) != keys:
            self._worker.ask("take_keys", name=name, keys=keys)
            self._keys[name] = keys

    def run(self, name: str, value: bytes) -> bytes:
        """One map on one ciphertext, after :meth:`compile` and :meth:`take_keys`.

        Raises:
            ChildError: the bytes are no ciphertext for it, or the worker died.
        """
        begin = time.perf_counter()
        answer: bytes = self._worker.ask("run", name=name, value=value)["value"]
        self.seconds += time.perf_counter() - begin
        return answer

    def simulate(self, frame: Frame, integers: Integers) -> Integers:
        """One map in Concrete's own simulation, on integers ``(rows, sum of widths)``."""
        values = pack_array(integers)
        answer = self._worker.ask("simulate", name=frame.name, values=values)
        result: Integers = unpack_array(answer["values"])
        return result

    def close(self) -> None:
        """Stop the worker."""
        self._worker.close()

    def _forget_if_new(self) -> None:
        self._worker.start()
        if self._worker.generation != self._generation:
            self._generation = self._worker.generation
            self._compiled.clear()
            self._keys.clear()


def _described(map_: Linear | Block) -> tuple[str, dict[str, Any]]:
    """What to ask the worker for, and the arrays and sizes it needs."""
    if isinstance(map_, Linear):
        return "compile", {name: pack_array(getattr(map_, name)) for name in ("weights", "bias")}
    arrays = ("first", "first_bias", "second", "beside", "bias")
    sizes = ("between_bits", "table_bits", "result_bits", "cut")
    return "compile_block", {
        **{name: pack_array(getattr(map_, name)) for name in arrays},
        **{name: getattr(map_, name) for name in sizes},
    }


@dataclass
class ClientMap:
    """The client's half of one map: what made it, its keys, and the worker that has it."""

    made: bytes = field(repr=False)
    secret: bytes | None = field(default=None, repr=False)
    evaluation: bytes = field(default=b"", repr=False)
    generation: int = 0


class ClientRole:
    """Has the secret keys, encrypts and decrypts. A worker that died gets the same keys again.

    Args:
        python: of Concrete's environment.
    """

    def __init__(self, python: Path) -> None:
        self.seconds = 0.0
        self._worker = Worker(python, "client")
        self._held: dict[str, ClientMap] = {}

    def open(self, name: str, made: bytes) -> ClientMap:
        """Take the client's half of a map and make its keys, once.

        Args:
            name: of the map.
            made: what the server made for the client; other circuits need other keys.

        Raises:
            ChildError: Concrete refused, or the worker died.
        """
        if name not in self._held or self._held[name].made != made:
            self._held[name] = ClientMap(made)
        return self._ready(name)

    def has(self, name: str) -> bool:
        """Whether there are keys for a map."""
        return name in self._held

    def encrypt(self, frame: Frame, integers: Integers) -> bytes:
        """One ciphertext of all rows."""
        self._ready(frame.name)
        begin = time.perf_counter()
        values = pack_array(integers)
        value: bytes = self._worker.ask("encrypt", name=frame.name, values=values)["value"]
        self.seconds += time.perf_counter() - begin
        return value

    def decrypt(self, frame: Frame, value: bytes) -> Integers:
        """The integers of a result, ``(rows, outputs)``."""
        self._ready(frame.name)
        begin = time.perf_counter()
        answer = self._worker.ask("decrypt", name=frame.name, value=value)
        self.seconds += time.perf_counter() - begin
        integers: Integers = unpack_array(answer["values"])
        return integers

    def close(self) -> None:
        """Stop the worker."""
        self._worker.close()

    def _ready(self, name: str) -> ClientMap:
        self._worker.start()
        held = self._held[name]
        if held.generation != self._worker.generation:
            self._worker.ask("open", name=name, client=held.made)
            keys = self._worker.ask("keygen", name=name, secret=held.secret)
            held.secret, held.evaluation = keys["secret"], keys["evaluation"]
            held.generation = self._worker.generation
        return held


MapRequests = Generator[tuple[Frame, Integers], Integers, Array]
"""Yields a map and the integers to encrypt for it, is sent the decrypted result, returns logits."""


def classify(
    layers: Sequence[LayerFrames], heads: int, embeddings: Array, softmax: str
) -> MapRequests:
    """Run an encoder, its linear maps elsewhere.

    Args:
        layers: the frames of each layer's maps.
        heads: attention heads.
        embeddings: of the true tokens, ``(n, d)``; padded here with zeros.
        softmax: ``estimate`` or ``exact``.
    """
    tokens = layers[0].keys.rows
    mask = (np.arange(tokens) < len(embeddings)).astype(np.float64)
    stream = np.zeros((tokens, embeddings.shape[1]))
    stream[: len(embeddings)] = embeddings
    for layer in layers:
        rows = layer.output.rows
        seen = yield from _request(layer.keys, [stream])
        if layer.query is not None:
            seen = np.concatenate([np.zeros((tokens, stream.shape[1])), seen], axis=1)
            seen[:rows, : stream.shape[1]] = yield from _request(layer.query, [stream[:rows]])
        context = attend(seen, rows, heads, mask, softmax)
        inner = yield from _request(layer.output, [context, stream[:rows]])
        parts = [inner]
        if layer.up is not None:
            parts.insert(0, relu((yield from _request(layer.up, [inner]))))
        stream = (yield from _request(layer.down, parts)) * mask[:rows, None]
    return np.asarray(stream[0])


def attend(parts: Array, rows: int, heads: int, mask: Array, softmax: str) -> Array:
    """Contexts ``(rows, d)`` of queries, keys and values side by side, ``(tokens, 3 d)``."""
    query, key, value = (
        part.reshape(len(part), heads, -1).transpose(1, 0, 2) for part in np.split(parts, 3, axis=1)
    )
    scores = query[:, :rows] @ key.transpose(0, 2, 1)
    weights = (
        exact(scores, mask) if softmax == "exact" else estimate(scores, mask, load_reciprocal())
    )
    return np.asarray((weights @ value).transpose(1, 0, 2).reshape(rows, -1))


def _request(
    frame: Frame, parts: Sequence[Array]
) -> Generator[tuple[Frame, Integers], Integers, Array]:
    result = yield frame, frame.encode(parts)
    return frame.decode(result)


def drive(requests: MapRequests, answer: Callable[[Frame, Integers], Integers]) -> Array:
    """Let ``answer`` compute every map, and return the logits."""
    try:
        frame, integers = next(requests)
        while True:
            frame, integers = requests.send(answer(frame, integers))
    except StopIteration as done:
        logits: Array = done.value
        return logits
