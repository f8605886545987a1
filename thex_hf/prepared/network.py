"""A network of linear maps and products on shared fixed-point numbers.

One description, from which everything else follows: what it computes in clear, what a ticket must
hold, what crosses, and in how many round trips.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from thex_hf.prepared.bfv.lazily import Weights
from thex_hf.prepared.field import Integers
from thex_hf.prepared.forms import CrossTerm, Form, Shape, flattened


@dataclass(frozen=True)
class Value:
    """A shared array.

    Args:
        name: unique in its network.
        shape: for one text.
        bits: after the binary point.
    """

    name: str
    shape: Shape
    bits: int

    @property
    def size(self) -> int:
        """How many numbers."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Linear:
    """``out = sum_i x_i @ W_i.T + bias``, cut by ``shift`` bits; no message.

    Args:
        out: ``(rows, o)``.
        terms: inputs, whose masks the client has drawn, and integer weights ``(o, k)``.
        bias: ``(o,)`` integers, at the bits of ``out``.
        shift: bits that are cut off.
    """

    out: Value
    terms: tuple[tuple[Value, Weights], ...]
    bias: Integers
    shift: int

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What it reads."""
        return tuple(value for value, _ in self.terms)

    @property
    def rows(self) -> int:
        """Rows of the inputs that are read: the first ones."""
        return self.out.shape[0]


@dataclass(frozen=True)
class _OfOne:
    """What a step has that reads one value."""

    out: Value
    source: Value

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What it reads."""
        return (self.source,)


@dataclass(frozen=True)
class Remask(_OfOne):
    """The same number under a new uniform mask: one number from client to server, no round trip."""


@dataclass(frozen=True)
class RowSum(_OfOne):
    """``(n, k)`` to the sum of its rows, ``(1, k)``; free."""


@dataclass(frozen=True)
class Product:
    """``out = form(left, right)`` cut by ``shift`` bits, plus a constant: one round trip.

    Args:
        out: under a new uniform mask.
        form: which product.
        left, right: its factors, the same one for a square.
        shift: bits that are cut off.
        constant: integers at the bits of ``out``, of a shape that numpy spreads; None: none.
        function: what the client makes of the product, which is shown to it: ``out`` is that, and
            nothing is cut. Empty: nothing is shown.
    """

    out: Value
    form: Form
    left: Value
    right: Value
    shift: int
    constant: Integers | None = None
    function: str = ""

    @property
    def shown(self) -> Value:
        """The product before it is cut."""
        return Value(self.out.name + ".shown", self.out.shape, self.left.bits + self.right.bits)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What it reads."""
        return (self.left, self.right)

    @cached_property
    def terms(self) -> tuple[CrossTerm, ...]:
        """The cross terms that the preparation must find, each as wide in slots as it can be."""
        out = []
        for term in self.form.terms():
            (instances, o, k), (_, _, a) = self.term_shapes(term)
            out.append(flattened(term, instances, o) if a == 1 < min(o, k) else term)
        return tuple(out)

    def term_shapes(self, term: CrossTerm) -> tuple[Shape, Shape]:
        """``(instances, o, k)`` of the server's matrix, ``(instances, k, a)`` of the client's."""
        left, right = (np.empty((1, *value.shape), np.uint64) for value in (self.left, self.right))
        mine, yours = (left, right) if term.server == "left" else (right, left)
        return term.plain(mine).shape[1:], term.cipher(yours).shape[1:]

    @property
    def revealed(self) -> dict[str, Value]:
        """The factors that the server reveals under a mask, by side."""
        if self.form.left_is_clients:
            return {"right": self.right}
        return (
            {"left": self.left} if self.form.symmetric else {"left": self.left, "right": self.right}
        )


@dataclass(frozen=True)
class Shown(_OfOne):
    """``out = function(source)``, by the client, to which the source is shown: one round trip.

    Args:
        out: under a new uniform mask.
        source: what the client gets to see.
        function: one of :data:`thex_hf.prepared.clear.FUNCTIONS`.
    """

    function: str


Exchanged: TypeAlias = Product | Shown
"""Steps that take a message each way."""
Step: TypeAlias = Linear | Remask | RowSum | Product | Shown


@dataclass(frozen=True)
class Network:
    """Steps in an order in which they can run.

    Args:
        embeddings: the input ``(S, d)``.
        mask: what the client knows of each token, ``(S,)``: one over the number of true tokens, 0
            for padding.
        steps: the computation.
        logits: its result ``(rows, labels)``.
    """

    embeddings: Value
    mask: Value
    steps: tuple[Step, ...]
    logits: Value

    @property
    def linears(self) -> list[Linear]:
        """Linear maps in order."""
        return [step for step in self.steps if isinstance(step, Linear)]

    @property
    def products(self) -> list[Product]:
        """Products in order."""
        return [step for step in self.steps if isinstance(step, Product)]

    @property
    def remasks(self) -> list[Remask]:
        """New masks in order."""
        return [step for step in self.steps if isinstance(step, Remask)]

    @property
    def fresh(self) -> list[Value]:
        """The values whose masks the client draws."""
        made = [step.out for step in self.steps if isinstance(step, Remask | Product | Shown)]
        return [self.embeddings, self.mask, *made]

    @cached_property
    def rounds(self) -> tuple[tuple[Exchanged, ...], ...]:
        """The steps of each round trip: as many side by side as there can be.

        A product with a factor that the client comes to know goes with the step that shows it.
        """
        depth = {self.embeddings.name: 0, self.mask.name: 0}
        rounds: list[list[Exchanged]] = []
        for step in self.steps:
            at = max(depth[value.name] for value in step.inputs)
            if isinstance(step, Product) and step.form.left_is_clients:
                at = max(depth[step.right.name], depth[step.left.name] - 1)
            if isinstance(step, Product | Shown):
                rounds += [[] for _ in range(at + 1 - len(rounds))]
                rounds[at].append(step)
                at += 1
            depth[step.out.name] = at
        return tuple(map(tuple, rounds))

    @property
    def requested(self) -> list[Value]:
        """Values of the shapes that a request has: input, mask, a difference for each new mask."""
        return [self.embeddings, self.mask, *(step.out for step in self.remasks)]

    def revealed(self, number: int) -> list[Value]:
        """What the server reveals in a round, from 0: values of the shapes that cross."""
        out: list[Value] = []
        for step in self.rounds[number]:
            if isinstance(step, Shown):
                out.append(step.source)
            else:
                out += [*step.revealed.values(), *([step.shown] if step.function else [])]
        return out

    @property
    def shows(self) -> bool:
        """Whether the client sees more than its logits."""
        return any(isinstance(step, Shown) or step.function for r in self.rounds for step in r)

    @property
    def numbers_up(self) -> int:
        """Numbers from client to server for one text."""
        answered = [step.out for steps in self.rounds for step in steps]
        return sum(value.size for value in self.requested + answered)

    @property
    def numbers_down(self) -> int:
        """Numbers from server to client for one text."""
        values = [value for number in range(len(self.rounds)) for value in self.revealed(number)]
        return self.logits.size + sum(value.size for value in values)
