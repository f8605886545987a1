"""What the client does at a visit, on decrypted numbers (THE-X, algorithm 2)."""

from __future__ import annotations

from thex_hf.approx.activation import relu
from thex_hf.approx.reciprocal import load_reciprocal
from thex_hf.approx.softmax import cubed_relu, estimate, exact
from thex_hf.encrypted.batch.layout import BatchLayout
from thex_hf.encrypted.schedule import Part
from thex_hf.layout.engines import Vector
from thex_hf.layout.layout import Layout


def answer_part(
    part: Part, vectors: list[Vector], mask: Vector, softmax: str
) -> list[list[Vector]]:
    """Answer one part of a visit.

    Args:
        part: what was sent and how it must come back.
        vectors: its decrypted slots.
        mask: ``(tokens,)``, 1 for true tokens and 0 for padding; only the client knows it.
        softmax: ``exact``, or else the estimate.

    Returns:
        For each returned packing, the slot vectors to encrypt.
    """
    values = part.sends.unpack(vectors)
    if part.op == "softmax":
        values = _softmax(values, mask, softmax)
    elif part.op == "rectify":
        values = cubed_relu(values) * mask
    elif part.op == "relu":
        values = relu(values)
    packed = []
    for layout, _ in part.returns:
        assert not isinstance(layout, BatchLayout)  # their only visits are of the op renew
        own = values[: layout.tokens] if isinstance(layout, Layout) else values
        packed.append(layout.pack(own))
    return packed


def _softmax(scores: Vector, mask: Vector, softmax: str) -> Vector:
    if softmax == "exact":
        return exact(scores, mask)
    return estimate(scores, mask, load_reciprocal())
