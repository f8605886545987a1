"""The plan of a prepared protocol: what both sides must agree on, and what a text will cost."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from thex_hf.circuits.plan import Facts
from thex_hf.prepared.bfv.parameters import BfvParameters
from thex_hf.prepared.field import WORD, Field
from thex_hf.prepared.folding import fold_network
from thex_hf.prepared.jobs import Batch
from thex_hf.prepared.network import Network
from thex_hf.prepared.rows import RowLayout
from thex_hf.prepared.steps import network_json
from thex_hf.weights import EncoderWeights

FORMAT = 1
PROTOCOL = "prepared"


@dataclass(frozen=True)
class PreparedPlan:
    """One network for one bucket.

    Args:
        network: what is computed; a client's has no weights.
        parameters: of the preparation's ciphertexts.
        labels: logits of a row.
        head: one of :data:`thex_hf.weights.HEADS`.
        model: fingerprint of the encoder's weights.
    """

    network: Network
    parameters: BfvParameters
    labels: int
    head: str
    model: str

    protocol = PROTOCOL

    @property
    def tokens(self) -> int:
        """The padded length."""
        return self.network.embeddings.shape[0]

    @property
    def hidden(self) -> int:
        """Size of an embedding."""
        return self.network.embeddings.shape[1]

    @cached_property
    def numbers(self) -> Field:
        """What is computed with."""
        return Field(self.parameters.plain_modulus)

    @cached_property
    def batch(self) -> Batch:
        """The tickets that are prepared at once."""
        most = self.parameters.ring_degree // self.tokens
        return Batch(self.network, self.parameters, most)

    @cached_property
    def layout(self) -> RowLayout:
        """What a client keeps of a ticket."""
        return RowLayout(self.network)

    @property
    def rounds(self) -> int:
        """Messages from client to server for one text, each answered by one."""
        return 1 + len(self.network.rounds)

    @property
    def bytes_up(self) -> int:
        """Of one text, without a message's frame."""
        return WORD * self.network.numbers_up

    @property
    def bytes_down(self) -> int:
        """Of one text, without a message's frame."""
        return WORD * self.network.numbers_down

    @property
    def row_bytes(self) -> int:
        """That a client keeps of a ticket."""
        return WORD * self.layout.numbers

    def shared(self) -> dict[str, Any]:
        """What both sides must agree on, as plain JSON values."""
        return {
            "format": FORMAT,
            "protocol": PROTOCOL,
            "model": self.model,
            "tokens": self.tokens,
            "labels": self.labels,
            "head": self.head,
            "parameters": json.loads(self.parameters.to_json()),
            "network": network_json(self.network),
        }

    @cached_property
    def id(self) -> str:
        """SHA-256 of :meth:`shared`, 32 hex digits."""
        return _digest(self.shared())

    @cached_property
    def key_set(self) -> str:
        """Names the keys needed: plans with the same parameters share them."""
        return _digest([PROTOCOL, self.parameters.to_json()])

    @property
    def facts(self) -> Facts:
        """What reports tell."""
        lattice = self.parameters.lattice
        return Facts(self.tokens, ring_degree=lattice.ring_degree, modulus_bits=lattice.total_bits)

    def to_json(self) -> dict[str, Any]:
        """The shared part and the counts, for people and reports."""
        batch = self.batch
        return {
            **self.shared(),
            "id": self.id,
            "key_set": self.key_set,
            "rounds": self.rounds,
            "tickets": batch.tickets,
            "ciphertexts": {"up": batch.up, "down": batch.down},
            "bytes": {"up": self.bytes_up, "down": self.bytes_down, "ticket": self.row_bytes},
        }


def prepared_plan(
    weights: EncoderWeights, tokens: int, parameters: BfvParameters | None = None
) -> PreparedPlan:
    """Plan the prepared protocol for one bucket.

    Args:
        weights: the converted encoder, of the polynomial form.
        tokens: padded length, a power of two.
        parameters: of the preparation; None: of 128-bit security.

    Raises:
        PlanError: weights of another form, or too large.
    """
    return PreparedPlan(
        fold_network(weights, tokens),
        parameters or BfvParameters(),
        weights.labels,
        weights.head,
        weights.fingerprint(),
    )


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
