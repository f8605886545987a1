"""Both halves of a preparation: the client's masks go up encrypted, its shares come down.

The server multiplies ciphertexts with its weights and masks, and adds a uniform mask to every
number that goes down. It keeps nothing: seeds give its masks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.bfv.noise import cross_bits, linear_bits
from thex_hf.prepared.bfv.slots import from_slots, to_slots
from thex_hf.prepared.field import Field
from thex_hf.prepared.jobs import Batch, Chunk, Job, LinearJob, ProductJob
from thex_hf.prepared.masks import ClientMasks, ServerMasks
from thex_hf.prepared.network import Linear, Value
from thex_hf.prepared.rows import RowLayout

SLAB = 256
"""Results of a linear map that are computed at once, 0.4 MB each: its inputs are cut into digits
once for all of them."""


class ClientCipher(Protocol):
    """The engine of a client: it holds the secret key."""

    def encrypt(self, slots: Words) -> list[bytes]:
        """Rows of slots, ``(n, N)``, to ciphertexts."""
        ...

    def decrypt(self, data: Sequence[bytes]) -> Words:
        """Ciphertexts to slots ``(n, N)``."""
        ...


class ServerCipher(Protocol):
    """The engine of a server: it cannot decrypt."""

    def load(self, data: Sequence[bytes]) -> Any:
        """Ciphertexts as an array whose first axis goes over them. Raises WireError."""
        ...

    def linear(self, weights: Any, inputs: Any) -> Any:
        """Sums ``weights @ inputs`` of integers times ciphertexts."""
        ...

    def add(self, one: Any, other: Any) -> Any:
        """Sums of ciphertexts."""
        ...

    def cross(self, plain: Words, inputs: Any) -> Any:
        """``P`` ``(o, k, B)`` times ``k`` ciphertexts: ``o`` of them, see :class:`CrossTerm`."""
        ...

    def times(self, plain: Words, inputs: Any) -> Any:
        """``(n, N)`` slots times ``n`` ciphertexts, one by one."""
        ...

    def finish(self, outputs: Any, masks: Words, noise_bits: int) -> list[bytes]:
        """Add masks ``(n, N)``, hide how the outputs came about, and serialise them."""
        ...


@dataclass
class ClientPreparation:
    """The client's half.

    Args:
        batch: what to prepare.
        numbers: modulo which prime.
        cipher: that encrypts.
        seeds: of the tickets.
        rows: ``(tickets, numbers)``, written to: see :class:`~thex_hf.prepared.rows.RowLayout`.
    """

    batch: Batch
    numbers: Field
    cipher: ClientCipher
    seeds: Sequence[bytes] = field(repr=False)
    rows: Words = field(repr=False)

    def __post_init__(self) -> None:
        self._layout = RowLayout(self.batch.network)
        self._masks = ClientMasks(self.numbers, self.seeds)
        self._fresh = {value.name for value in self.batch.network.fresh}
        self._sources = {step.source.name: step.out for step in self.batch.network.remasks}
        self._drawn = _Drawn()

    def inputs(self, job: Job, chunk: Chunk) -> list[bytes]:
        """The ciphertexts that go up."""
        if not chunk.up:
            return []
        return self.cipher.encrypt(
            self._linear_slots(job, chunk)
            if isinstance(job, LinearJob)
            else self._term_slots(job, chunk)
        )

    def take(self, job: Job, chunk: Chunk, data: Sequence[bytes]) -> None:
        """Read what has come down, and write it into the rows."""
        if not chunk.down:
            return
        slots = self.cipher.decrypt(data)
        if isinstance(job, LinearJob):
            self._take_linear(job.steps[chunk.part - len(job.values)], chunk, slots)
        else:
            self._take_term(job, chunk, slots)

    def _linear_slots(self, job: LinearJob, chunk: Chunk) -> Words:
        value = job.values[chunk.part]
        masks = self._once(value)[..., chunk.start : chunk.stop]
        out = np.zeros((chunk.up, self.batch.ring_degree), np.uint64)
        places = out[:, : self.batch.tickets * self.batch.rows]
        placed = places.reshape(chunk.up, self.batch.tickets, self.batch.rows)
        placed[:, :, : value.shape[0]] = np.moveaxis(masks, -1, 0)
        return out

    def _take_linear(self, step: Linear, chunk: Chunk, slots: Words) -> None:
        used = slots[:, : self.batch.tickets * self.batch.rows]
        placed = used.reshape(chunk.down, self.batch.tickets, self.batch.rows)
        share = np.moveaxis(placed[:, :, : step.rows], 0, -1)
        share = self.numbers.truncate_mask(share, step.shift)
        features = slice(chunk.start, chunk.stop)
        if self._layout.holds("share", step.out.name):
            self._layout.view(self.rows, "share", step.out.name)[..., features] = share
        if step.out.name in self._sources:
            new = self._sources[step.out.name]
            delta = self.numbers.subtract(share, self._once(new)[..., features])
            self._layout.view(self.rows, "delta", new.name)[..., features] = delta

    def _term_slots(self, job: ProductJob, chunk: Chunk) -> Words:
        layout = job.terms[chunk.part]
        factor = job.step.right if layout.term.server == "left" else job.step.left
        cipher = self._drawn.get(
            "cipher",
            f"{job.step.out.name}/{chunk.part}",
            lambda: layout.term.cipher(self._mask_of(factor)),
        )
        room = (chunk.stop - chunk.start, layout.batch, layout.k, layout.width)
        groups = _grouped(cipher, chunk, np.zeros(room, np.uint64))
        return to_slots(np.moveaxis(groups, 2, 1)).reshape(chunk.up, -1)

    def _take_term(self, job: ProductJob, chunk: Chunk, slots: Words) -> None:
        layout = job.terms[chunk.part]
        values = from_slots(slots, layout.width).reshape(-1, layout.o, layout.batch, layout.width)
        out = self._gathered(job, chunk.part)
        flat = out.reshape(-1, layout.o, layout.a)
        part = np.moveaxis(values, 1, 2).reshape(-1, layout.o, layout.width)[..., : layout.a]
        start = chunk.start * layout.batch
        stop = min(chunk.stop * layout.batch, len(flat))
        flat[start:stop] = part[: stop - start]
        if chunk.stop == layout.groups:
            self._cross(job, layout.term.joined(out), first=chunk.part == 0)

    def _gathered(self, job: ProductJob, part: int) -> Words:
        """The results of a term so far."""
        layout = job.terms[part]
        shape = (self.batch.tickets, layout.instances, layout.o, layout.a)
        name = f"{job.step.out.name}/{part}"
        return self._drawn.get("results", name, lambda: np.zeros(shape, np.uint64))

    def _cross(self, job: ProductJob, term: Words, *, first: bool) -> None:
        """Add a term to the row, and the product of both masks."""
        step, numbers = job.step, self.numbers
        place = self._layout.view(self.rows, "cross", step.out.name)
        total = numbers.add(term, term) if step.form.symmetric else term
        if not first:
            place[...] = numbers.add(place, total)
        elif step.form.left_is_clients:
            place[...] = total
        else:
            left, right = self._mask_of(step.left), self._mask_of(step.right)
            place[...] = numbers.add(total, step.form.apply(numbers, left, right))

    def _mask_of(self, value: Value) -> Words:
        """``(tickets, *shape)``: the client's share of a value."""
        if value.name in self._fresh:
            return self._once(value)
        return self._layout.view(self.rows, "share", value.name)

    def _once(self, value: Value) -> Words:
        return self._drawn.get("mask", value.name, lambda: self._masks.of(value))


@dataclass
class ServerPreparation:
    """The server's half.

    Args:
        batch: what to prepare, of a network with its weights.
        numbers: modulo which prime.
        cipher: that computes.
        seeds: of the tickets.
        attempts: see :class:`~thex_hf.prepared.masks.ServerMasks`.
    """

    batch: Batch
    numbers: Field
    cipher: ServerCipher
    seeds: Sequence[bytes] = field(repr=False)
    attempts: Mapping[str, int] = field(default_factory=dict)
    _loaded: dict[str, Any] = field(init=False, default_factory=dict, repr=False)
    _slab: _Slab | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self._masks = ServerMasks(self.numbers, self.seeds, self.attempts)
        self._drawn = _Drawn()

    def answer(self, job: Job, chunk: Chunk, data: Sequence[bytes]) -> list[bytes]:
        """Take what goes up; what comes down. Chunks of a job come in order."""
        if isinstance(job, ProductJob):
            return self._term(job, chunk, data)
        if chunk.up:
            if chunk is job.chunks[0]:
                self._loaded, self._slab = {}, None
            self._take_inputs(job.values[chunk.part], chunk, self.cipher.load(data))
            return []
        return self._linear(job.steps[chunk.part - len(job.values)], chunk)

    def _take_inputs(self, value: Value, chunk: Chunk, words: Any) -> None:
        """Put ciphertexts where all of their value come together."""
        if value.name not in self._loaded:
            room = (value.shape[1], *words.shape[1:])
            self._loaded[value.name] = np.empty(room, words.dtype)
        self._loaded[value.name][chunk.start : chunk.stop] = words

    def _linear(self, step: Linear, chunk: Chunk) -> list[bytes]:
        if self._slab is None or not self._slab.holds(step, chunk):
            self._slab = None  # its memory first
            rows = slice(chunk.start, max(chunk.stop, chunk.start + SLAB))
            total: Any = None
            for value, weights in step.terms:
                part = self.cipher.linear(weights[rows], self._loaded[value.name])
                total = part if total is None else self.cipher.add(total, part)
            self._slab = _Slab(step.out.name, chunk.start, total)
        whole = np.hstack([weights[chunk.start : chunk.stop] for _, weights in step.terms])
        sums = self._slab.of(chunk)
        return self.cipher.finish(sums, self._linear_masks(step, chunk), linear_bits(whole))

    def _linear_masks(self, step: Linear, chunk: Chunk) -> Words:
        """Negative masks, uniform in the slots that no ticket uses too."""
        batch = self.batch
        out = self.numbers.uniform((chunk.down, batch.ring_degree))
        placed = out[:, : batch.tickets * batch.rows].reshape(chunk.down, batch.tickets, batch.rows)
        masks = self._drawn.get("mask", step.out.name, lambda: self._masks.of_linear(step))
        part = np.moveaxis(masks[..., chunk.start : chunk.stop], -1, 0)
        placed[:, :, : step.rows] = self.numbers.negative(part)
        return out

    def _term(self, job: ProductJob, chunk: Chunk, data: Sequence[bytes]) -> list[bytes]:
        step, layout = job.step, job.terms[chunk.part]
        name = f"{step.out.name}/{chunk.part}"
        factor = self._drawn.get(
            "factor",
            name,
            lambda: layout.term.plain(self._masks.of_factor(step, layout.term.server)),
        )
        masks = self._drawn.get("mask", name, lambda: self._masks.of_term(step, chunk.part))
        room = (chunk.stop - chunk.start, layout.batch, layout.o)
        plain = _grouped(factor, chunk, np.zeros((*room, layout.k), np.uint64))
        # uniform where no instance is, too: a client may have put something there
        hidden = self.numbers.uniform((*room, layout.width))
        slots = to_slots(np.moveaxis(_grouped(self.numbers.negative(masks), chunk, hidden), 2, 1))
        noise = cross_bits(self.batch.parameters, layout.k, layout.width)
        loaded = self.cipher.load(data)
        if layout.k == layout.width == 1:
            factors = to_slots(np.moveaxis(plain, 2, 1)).reshape(chunk.down, -1)
            products = self.cipher.times(factors, np.repeat(loaded, layout.o, axis=0))
            return self.cipher.finish(products, slots.reshape(chunk.down, -1), noise)
        out = []
        for group in range(chunk.stop - chunk.start):
            inputs = loaded[group * layout.k : (group + 1) * layout.k]
            factors = np.moveaxis(plain[group], 0, 2)  # (o, k, batch)
            outputs = (
                self._summed(self.cipher.times(to_slots(factors[0, ..., None]), inputs))
                if layout.width == layout.o == 1
                else self.cipher.cross(factors, inputs)
            )
            out += self.cipher.finish(outputs, slots[group], noise)
        return out

    def _summed(self, terms: Any) -> Any:
        """The sum of some ciphertexts, alone."""
        while len(terms) > 1:
            half = len(terms) // 2
            total = self.cipher.add(terms[:half], terms[half : 2 * half])
            terms = np.concatenate([total, terms[2 * half :]])
        return terms


@dataclass(frozen=True)
class _Slab:
    """Results of a linear map, from number ``start`` on."""

    step: str
    start: int
    sums: Any

    def holds(self, step: Linear, chunk: Chunk) -> bool:
        """Whether a chunk's results are among them."""
        inside = self.start <= chunk.start and chunk.stop <= self.start + len(self.sums)
        return step.out.name == self.step and inside

    def of(self, chunk: Chunk) -> Any:
        """Those of a chunk."""
        return self.sums[chunk.start - self.start : chunk.stop - self.start]


class _Drawn:
    """The last array drawn for each purpose: chunks of a job need the same one after the other."""

    def __init__(self) -> None:
        self._arrays: dict[str, tuple[str, Words]] = {}

    def get(self, purpose: str, name: str, draw: Callable[[], Words]) -> Words:
        """The array of this name, drawn if it is not the last one."""
        if purpose not in self._arrays or self._arrays[purpose][0] != name:
            self._arrays[purpose] = (name, draw())
        return self._arrays[purpose][1]


def _grouped(values: Words, chunk: Chunk, out: Words) -> Words:
    """The instances of some groups, put into ``out``.

    Args:
        values: ``(tickets, instances, rows, columns)``.
        chunk: which groups.
        out: ``(groups, batch, rows, columns or more)``; what no instance fills stays as it is.
    """
    groups, batch = out.shape[:2]
    flat = values.reshape(-1, *values.shape[2:])
    part = flat[chunk.start * batch : chunk.stop * batch]
    out.reshape(groups * batch, *out.shape[2:])[: len(part), :, : values.shape[3]] = part
    return out
