"""The plan of a prepared protocol: what both sides must agree on, and what a text will cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct, ValidationError, convert, to_builtins

from thex_hf.circuits.plan import Facts, Plan
from thex_hf.errors import OptionError, WireError
from thex_hf.prepared.bfv.parameters import BfvParameters
from thex_hf.prepared.field import WORD, Field
from thex_hf.prepared.folding import fold_network
from thex_hf.prepared.forms import SquaredSum
from thex_hf.prepared.jobs import Batch
from thex_hf.prepared.network import Network
from thex_hf.prepared.rows import RowLayout
from thex_hf.prepared.steps import Size, network_json, read_network
from thex_hf.weights import HEADS, EncoderWeights

FORMAT = 1
MOST_TOKENS = 512
MOST_BATCH_BYTES = 64 << 30
"""That a client keeps of a batch; 12 layers of 768 take 17 GB for 512 tokens."""
PROTOCOL = "prepared"
ENGINE = "seal"


class Sizes(Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of an encoder that its network does not show."""

    layers: Size
    heads: Size
    intermediate: Size
    labels: Size
    head: Annotated[str, Meta(pattern=rf"\A({'|'.join(HEADS)})\Z")]


@dataclass(frozen=True)
class PreparedPlan:
    """One network for one bucket.

    Args:
        network: what is computed; a client's has no weights.
        parameters: of the preparation's ciphertexts.
        sizes: layers, heads, intermediate, labels, head: for people, and to tell models apart.
        model: fingerprint of the encoder's weights.
    """

    network: Network
    parameters: BfvParameters
    sizes: Sizes
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

    @property
    def form(self) -> str:
        """Of the model: ``the-x`` if the client sees more than logits, else one of the others."""
        if self.network.shows:
            return "the-x"
        divides = any(isinstance(step.form, SquaredSum) for step in self.network.products)
        return "normalised" if divides else "polynomial"

    @property
    def options(self) -> Mapping[str, Any]:
        """What else decides the computation: nothing."""
        return {}

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
            "sizes": to_builtins(self.sizes),
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


AnyPlan: TypeAlias = Plan | PreparedPlan
"""A plan of an engine on slots, or of the prepared protocol."""


def prepared_plan(
    weights: EncoderWeights,
    tokens: int,
    parameters: BfvParameters | None = None,
    softmax: str = "estimate",
) -> PreparedPlan:
    """Plan the prepared protocol for one bucket.

    Args:
        weights: the converted encoder, of any form.
        tokens: padded length, a power of two.
        parameters: of the preparation; None: of 128-bit security.
        softmax: of the THE-X form, ``estimate`` or ``exact``.

    Raises:
        PlanError: weights that are too large, or another softmax.
    """
    return PreparedPlan(
        fold_network(weights, tokens, softmax=softmax),
        parameters or BfvParameters(),
        Sizes(
            len(weights.layers), weights.heads, weights.intermediate, weights.labels, weights.head
        ),
        weights.fingerprint(),
    )


def check_engine(backend: str) -> None:
    """Refuse an engine that does not do exact arithmetic modulo a prime.

    Raises:
        OptionError: says which one does.
    """
    if backend != ENGINE:
        raise OptionError(
            f"protocol {PROTOCOL!r} runs on backend {ENGINE!r}, not {backend!r}: its preparation "
            f"needs exact arithmetic modulo a prime"
        )


class _Fields(Struct, frozen=True):
    """What is read of a plan's JSON."""

    format: int
    protocol: str
    model: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    tokens: int
    sizes: Sizes
    parameters: dict[str, Any]
    network: dict[str, Any]
    id: str


def read_prepared_plan(data: Mapping[str, Any]) -> PreparedPlan:
    """The plan whose :meth:`PreparedPlan.to_json` is ``data``, for a client: without weights.

    Raises:
        WireError: ``data`` is no plan, or its id is not that of its content.
        SecurityError: parameters below 128 bits.
    """
    try:
        fields = convert(data, _Fields)
    except ValidationError as error:
        raise WireError(f"this is not a plan of the prepared protocol: {error}") from None
    if (fields.format, fields.protocol) != (FORMAT, PROTOCOL):
        raise WireError(
            f"expected a plan of format {FORMAT} of protocol {PROTOCOL!r}, got {fields.format} of "
            f"{fields.protocol[:40]!r}; run the same version of the package on both sides"
        )
    parameters = BfvParameters()
    if fields.parameters != json.loads(parameters.to_json()):
        raise WireError(
            f"expected the parameters {parameters.to_json()}, got {str(fields.parameters)[:200]}; "
            f"run the same version of the package on both sides"
        )
    parameters.require_128_bit()
    plan = PreparedPlan(read_network(fields.network), parameters, fields.sizes, fields.model)
    if plan.tokens != fields.tokens or plan.tokens > MOST_TOKENS:
        raise WireError(f"expected a plan for up to {MOST_TOKENS} tokens, got {fields.tokens}")
    if plan.tokens & (plan.tokens - 1):
        raise WireError(f"expected a plan for a power of two of tokens, got {plan.tokens}")
    if plan.row_bytes * plan.batch.tickets > MOST_BATCH_BYTES:
        raise WireError(
            f"a batch of {plan.batch.tickets} tickets of {plan.row_bytes} bytes is more than any "
            f"model of ours takes, {MOST_BATCH_BYTES} bytes"
        )
    if fields.id != plan.id:
        raise WireError(
            f"the plan says that its id is {fields.id[:40]!r}, its content makes it {plan.id!r}; "
            f"client and server run different versions, or the plan was altered"
        )
    return plan


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
