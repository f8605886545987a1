"""The client's half of a run: what lies between the linear maps of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from thex_hf.approx.activation import relu
from thex_hf.approx.reciprocal import load_reciprocal
from thex_hf.approx.softmax import estimate, exact
from thex_hf.concrete.circuits import LayerFrames
from thex_hf.concrete.quantise import Frame, Integers
from thex_hf.weights import Array

Asks = Generator[tuple[Frame, Integers], Integers, Array]
"""Yields a map and the integers to encrypt for it, is sent the decrypted result, returns logits."""


def classify(layers: Sequence[LayerFrames], heads: int, embeddings: Array, softmax: str) -> Asks:
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
        seen = yield from _ask(layer.keys, [stream])
        if layer.query is not None:
            seen = np.concatenate([np.zeros((tokens, stream.shape[1])), seen], axis=1)
            seen[:rows, : stream.shape[1]] = yield from _ask(layer.query, [stream[:rows]])
        context = attend(seen, rows, heads, mask, softmax)
        inner = yield from _ask(layer.output, [context, stream[:rows]])
        parts = [inner]
        if layer.up is not None:
            parts.insert(0, relu((yield from _ask(layer.up, [inner]))))
        stream = (yield from _ask(layer.down, parts)) * mask[:rows, None]
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


def _ask(
    frame: Frame, parts: Sequence[Array]
) -> Generator[tuple[Frame, Integers], Integers, Array]:
    result = yield frame, frame.encode(parts)
    return frame.decode(result)


def drive(asks: Asks, answer: Callable[[Frame, Integers], Integers]) -> Array:
    """Let ``answer`` compute every map, and return the logits."""
    try:
        frame, integers = next(asks)
        while True:
            frame, integers = asks.send(answer(frame, integers))
    except StopIteration as done:
        logits: Array = done.value
        return logits
