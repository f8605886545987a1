"""The uniform numbers that each side draws for a ticket, from a seed of its own.

A seed is 32 secret bytes; every array has a label of its own under it. The server's stock of
tickets is nothing but seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.field import Field
from thex_hf.prepared.forms import Shape
from thex_hf.prepared.network import Linear, Product, Value

SEED_BYTES = 32


def ticket_seed(seed: bytes, ticket: int) -> bytes:
    """The seed of one ticket of a batch."""
    return hashlib.shake_256(b"ticket" + seed + ticket.to_bytes(4, "big")).digest(SEED_BYTES)


@dataclass(frozen=True)
class ClientMasks:
    """Masks of values, drawn by the client: ``r`` of ``x = hat + r``.

    Args:
        numbers: modulo which prime.
        seeds: of the tickets.
    """

    numbers: Field
    seeds: Sequence[bytes]

    def of(self, value: Value) -> Words:
        """``(tickets, *shape)``."""
        return _each(self.numbers, self.seeds, value.name, value.shape)


@dataclass(frozen=True)
class ServerMasks:
    """Masks of one use, drawn by the server.

    Args:
        numbers: modulo which prime.
        seeds: of the tickets.
        attempts: how often the job of a step was begun, by the name of the step's result: a job
            that begins anew has other masks, or two answers would show their difference.
    """

    numbers: Field
    seeds: Sequence[bytes]
    attempts: Mapping[str, int] = field(default_factory=dict)

    def of_linear(self, step: Linear) -> Words:
        """``s``, under which the client learns its share: ``(tickets, rows, o)``."""
        return self._drawn(step, "linear", step.out.shape)

    def of_factor(self, step: Product, side: str) -> Words:
        """``A`` or ``B``, under which a factor is revealed; ``side`` is ``left`` or ``right``."""
        value = step.left if side == "left" else step.right
        return self._drawn(step, side, value.shape)

    def of_term(self, step: Product, index: int) -> Words:
        """``s`` of a cross term: ``(tickets, instances, o, a)``."""
        (instances, o, _), (_, _, a) = step.term_shapes(step.terms[index])
        return self._drawn(step, f"term{index}", (instances, o, a))

    def of_product(self, step: Product) -> Words:
        """The masks of all cross terms as the server's share of the product takes them."""
        total: Words | None = None
        for index, term in enumerate(step.terms):
            part = term.joined(self.of_term(step, index))
            total = part if total is None else self.numbers.add(total, part)
        assert total is not None
        return self.numbers.add(total, total) if step.form.symmetric else total

    def _drawn(self, step: Linear | Product, purpose: str, shape: Shape) -> Words:
        name = step.out.name
        label = f"{name}/{purpose}/{self.attempts.get(name, 1)}"
        return _each(self.numbers, self.seeds, label, shape)


def _each(numbers: Field, seeds: Sequence[bytes], label: str, shape: Shape) -> Words:
    return np.stack([numbers.stream(seed, label, shape) for seed in seeds])
