"""One text through a network with a ticket: plain arithmetic on shares, no cryptography.

Both halves go through the same rounds. In each the server reveals the factors of some products
under masks of one use, and the client answers with its shares of these products under new masks.
All that either side ever sees is uniform.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.clear import inputs, linear, row_sum, shown, with_constant
from thex_hf.prepared.field import Field, Reals
from thex_hf.prepared.masks import ClientMasks, ServerMasks
from thex_hf.prepared.network import (
    Exchanged,
    Linear,
    Network,
    Product,
    Remask,
    RowSum,
    Shown,
    Step,
    Value,
)
from thex_hf.prepared.rows import RowLayout

Arrays = list[Words]


@dataclass
class ServerShares:
    """The server's half of one text. It never learns whose masks it works under.

    Args:
        network: with the weights.
        numbers: modulo which prime.
        seed: of the ticket.
        attempts: see :class:`~thex_hf.prepared.masks.ServerMasks`.
    """

    network: Network
    numbers: Field
    seed: bytes = field(repr=False)
    attempts: Mapping[str, int] = field(default_factory=dict)
    _hats: dict[str, Words] = field(init=False, default_factory=dict, repr=False)
    _round: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._masks = ServerMasks(self.numbers, [self.seed], self.attempts)
        self._steps = list(self.network.steps)

    @property
    def finished(self) -> bool:
        """Whether the answer has been given."""
        return self._round == len(self.network.rounds)

    @property
    def expected(self) -> list[Value]:
        """What the client sends next: values of the shapes that come."""
        if not self._hats:
            return self.network.requested
        return [step.out for step in self.network.rounds[self._round]]

    def start(self, request: Sequence[Words]) -> Arrays:
        """Take the masked input, mask and differences of masks; what is revealed first."""
        embeddings, mask, *differences = request
        self._hats[self.network.embeddings.name] = embeddings
        self._hats[self.network.mask.name] = mask
        for step, difference in zip(self.network.remasks, differences, strict=True):
            self._hats["difference of " + step.out.name] = difference
        return self._advance()

    def take(self, shares: Sequence[Words]) -> Arrays:
        """Take the client's shares of a round's products; what is revealed next, or the answer."""
        for step, share in zip(self.network.rounds[self._round], shares, strict=True):
            if isinstance(step, Shown) or step.function:
                self._hats[step.out.name] = share
                continue
            mine = self._product(step)
            total = self.numbers.add(self.cut(step.out.name, mine, step.shift), share)
            self._hats[step.out.name] = with_constant(self.numbers, step, total)
        self._round += 1
        return self._advance()

    def cut(self, name: str, hat: Words, shift: int) -> Words:
        """The server's share of the value ``name`` cut by ``shift`` bits."""
        return self.numbers.truncate_hat(hat, shift)

    def _product(self, step: Product) -> Words:
        left, right = self._hats[step.left.name], self._hats[step.right.name]
        return self.numbers.add(
            step.form.apply(self.numbers, left, right), self._masks.of_product(step)[0]
        )

    def _advance(self) -> Arrays:
        """Run what needs no message, then reveal the next round's factors, or the answer."""
        waiting = []
        for step in self._steps:
            if not self._ready(step):
                waiting.append(step)
            elif isinstance(step, Linear):
                self._hats[step.out.name] = self._linear(step)
            elif isinstance(step, Remask):
                self._hats[step.out.name] = self.numbers.add(
                    self._hats[step.source.name], self._hats["difference of " + step.out.name]
                )
            elif isinstance(step, RowSum):
                self._hats[step.out.name] = row_sum(self.numbers, self._hats[step.source.name])
        self._steps = waiting
        if self.finished:
            return [self._hats[self.network.logits.name]]
        return [a for step in self.network.rounds[self._round] for a in self._revealed(step)]

    def _revealed(self, step: Exchanged) -> Arrays:
        """Factors under masks; where the product is shown, the server's share of it too."""
        if isinstance(step, Shown):
            return [self._hats[step.source.name]]
        out = [
            self.numbers.subtract(self._hats[value.name], self._masks.of_factor(step, side)[0])
            for side, value in step.revealed.items()
        ]
        return [*out, self._product(step)] if step.function else out

    def _ready(self, step: Step) -> bool:
        if isinstance(step, Product | Shown):
            return False
        return all(value.name in self._hats for value in step.inputs)

    def _linear(self, step: Linear) -> Words:
        numbers = self.numbers
        total = numbers.add(linear(numbers, step, self._hats), self._masks.of_linear(step)[0])
        cut = self.cut(step.out.name, total, step.shift)
        return numbers.add(cut, np.broadcast_to(numbers.of(step.bias), cut.shape))


@dataclass
class ClientShares:
    """The client's half of one text.

    Args:
        network: its sizes; weights are not looked at.
        numbers: modulo which prime.
        seed: of the ticket.
        row: of the ticket, see :class:`~thex_hf.prepared.rows.RowLayout`.
    """

    network: Network
    numbers: Field
    seed: bytes = field(repr=False)
    row: Words = field(repr=False)
    _round: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._layout = RowLayout(self.network)
        self._masks = ClientMasks(self.numbers, [self.seed])
        self._fresh = {value.name: value for value in self.network.fresh}
        self._sums = {s.out.name: s for s in self.network.steps if isinstance(s, RowSum)}
        self._known: dict[str, Words] = {}
        self.overflown = False

    def start(self, embeddings: Reals) -> Arrays:
        """The request for a text's embeddings ``(n, d)``."""
        padded, share = inputs(self.network, self.numbers, embeddings)
        self._known[self.network.mask.name] = share
        return [
            self.numbers.subtract(padded, self.mask_of(self.network.embeddings.name)),
            self.numbers.subtract(share, self.mask_of(self.network.mask.name)),
            *(self._held("delta", step.out.name) for step in self.network.remasks),
        ]

    @property
    def expected(self) -> list[Value]:
        """What the server sends next: values of the shapes that come."""
        if self._round == len(self.network.rounds):
            return [self.network.logits]
        return self.network.revealed(self._round)

    def answer(self, revealed: Sequence[Words]) -> Arrays:
        """The client's shares of a round's products under new masks."""
        incoming = iter(revealed)
        out = []
        for step in self.network.rounds[self._round]:
            mine = self._share(step, incoming)
            out.append(self.numbers.subtract(mine, self.mask_of(step.out.name)))
        self._round += 1
        return out

    def _share(self, step: Exchanged, incoming: Iterator[Words]) -> Words:
        """What goes to the server under a new mask: a share, or what was made of what is shown."""
        if isinstance(step, Shown):
            whole = self.numbers.add(next(incoming), self.mask_of(step.source.name))
            return self._made(step.function, whole, step.source, step.out)
        share = self._product(step, [next(incoming) for _ in step.revealed])
        if step.function:
            whole = self.numbers.add(next(incoming), share)
            return self._made(step.function, whole, step.shown, step.out)
        return self.numbers.truncate_mask(share, step.shift)

    def _made(self, function: str, whole: Words, source: Value, out: Value) -> Words:
        share = self._known[self.network.mask.name]
        words, fits = shown(self.numbers, function, whole, (source, out), share)
        self.overflown |= not fits
        self._known[out.name] = words
        return words

    def read(self, answer: Sequence[Words]) -> Reals:
        """The logits ``(rows, labels)``."""
        (hat,) = answer
        logits = self.network.logits
        total = self.numbers.add(hat, self.mask_of(logits.name))
        return self.numbers.decode(total, logits.bits)

    def mask_of(self, name: str) -> Words:
        """The client's share ``r`` of a value."""
        if self._layout.holds("share", name):
            return self._held("share", name)
        if name in self._fresh:
            drawn: Words = self._masks.of(self._fresh[name])[0]
            return drawn
        return row_sum(self.numbers, self.mask_of(self._sums[name].source.name))

    def _held(self, kind: str, name: str) -> Words:
        return self._layout.view(self.row, kind, name)

    def _product(self, step: Product, revealed: Sequence[Words]) -> Words:
        numbers, form = self.numbers, step.form
        left, right = self.mask_of(step.left.name), self.mask_of(step.right.name)
        known = self._held("cross", step.out.name)
        if form.left_is_clients:
            (other,) = revealed
            known = numbers.add(known, form.apply(numbers, self._known[step.left.name], right))
            return numbers.add(known, form.apply(numbers, left, other))
        if form.symmetric:
            (other,) = revealed
            twice = form.apply(numbers, left, other)
            return numbers.add(known, numbers.add(twice, twice))
        first, second = revealed
        known = numbers.add(known, form.apply(numbers, first, right))
        return numbers.add(known, form.apply(numbers, left, second))
