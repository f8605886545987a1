"""The preparation of a batch of tickets, cut into jobs, and jobs into chunks that cross at once.

There are two kinds of jobs, whatever the depth of the network: linear maps, all of which depend on
masks that the client draws; and products, which also need what the linear maps gave. Jobs of one
kind are independent of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from thex_hf.errors import PlanError
from thex_hf.prepared.bfv.parameters import BfvParameters
from thex_hf.prepared.forms import CrossTerm
from thex_hf.prepared.network import Linear, Network, Product, Value

AT_ONCE = 64
"""Ciphertexts that cross at once, up or down, where a job does not ask for more."""


@dataclass(frozen=True)
class Chunk:
    """Ciphertexts that go up, or that come down, or both.

    Args:
        part: which part of the job: see the kinds of jobs.
        start, stop: what of the part.
        up, down: ciphertexts.
    """

    part: int
    start: int
    stop: int
    up: int
    down: int


@dataclass(frozen=True)
class LinearJob:
    """Linear maps that share inputs: first all inputs go up, then all results come down.

    One ciphertext holds one feature of every row of every ticket. Parts are the values, then the
    steps.
    """

    values: tuple[Value, ...]
    steps: tuple[Linear, ...]

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """In order."""
        ups = [
            Chunk(part, start, stop, stop - start, 0)
            for part, value in enumerate(self.values)
            for start, stop in _blocks(value.shape[1])
        ]
        downs = [
            Chunk(len(self.values) + part, start, stop, 0, stop - start)
            for part, step in enumerate(self.steps)
            for start, stop in _blocks(step.out.shape[1])
        ]
        return (*ups, *downs)


@dataclass(frozen=True)
class TermLayout:
    """How the instances of a cross term, of all tickets, lie in ciphertexts.

    ``batch`` instances lie side by side in a group of ``k`` ciphertexts up and ``o`` down.

    Args:
        term: the cross term.
        instances: of one ticket.
        o, k, a: sizes of its matrices; ``a`` may be smaller than :attr:`width`.
        width: slots that an instance takes, a power of two.
        batch: instances in a group.
        groups: for all tickets.
    """

    term: CrossTerm
    instances: int
    o: int
    k: int
    a: int
    width: int
    batch: int
    groups: int


@dataclass(frozen=True)
class ProductJob:
    """The cross terms of one product. Parts are the terms; what of them: groups."""

    step: Product
    terms: tuple[TermLayout, ...]

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """In order."""
        out = []
        for part, term in enumerate(self.terms):
            for start, stop in _blocks(term.groups, max(1, AT_ONCE // max(term.o, term.k))):
                groups = stop - start
                out.append(Chunk(part, start, stop, groups * term.k, groups * term.o))
        return tuple(out)


Job: TypeAlias = LinearJob | ProductJob


def ciphertexts(job: Job) -> int:
    """Of a job, up and down together."""
    return sum(chunk.up + chunk.down for chunk in job.chunks)


@dataclass(frozen=True)
class Batch:
    """A batch of tickets of one network, and the jobs that prepare it.

    Args:
        network: that the tickets are for.
        parameters: of the ciphertexts.
        tickets: how many, at most :attr:`most`.

    Raises:
        PlanError: no ticket, or too many.
    """

    network: Network
    parameters: BfvParameters
    tickets: int

    def __post_init__(self) -> None:
        """Check the number of tickets."""
        if not 1 <= self.tickets <= self.most:
            raise PlanError(
                f"a batch has 1 to {self.most} tickets of this length, not {self.tickets}"
            )

    @property
    def most(self) -> int:
        """The tickets that fill a ciphertext; fewer cost as much."""
        return self.ring_degree // self.rows

    @property
    def ring_degree(self) -> int:
        """N: slots of a ciphertext."""
        return self.parameters.ring_degree

    @property
    def rows(self) -> int:
        """Slots of a ticket in the ciphertext of a feature."""
        return self.network.embeddings.shape[0]

    @cached_property
    def linear_jobs(self) -> tuple[LinearJob, ...]:
        """The first jobs: linear maps, those that share inputs together."""
        groups: list[tuple[list[Value], list[Linear]]] = []
        for step in self.network.linears:
            wanted = [value for value, _ in step.terms]
            joined = [group for group in groups if any(value in group[0] for value in wanted)]
            values = list(dict.fromkeys([v for group in joined for v in group[0]] + wanted))
            steps = [one for group in joined for one in group[1]] + [step]
            groups = [group for group in groups if group not in joined] + [(values, steps)]
        return tuple(LinearJob(tuple(values), tuple(steps)) for values, steps in groups)

    @cached_property
    def product_jobs(self) -> tuple[ProductJob, ...]:
        """The second jobs: one for each product."""
        return tuple(
            ProductJob(step, tuple(self._term(step, term) for term in step.terms))
            for step in self.network.products
        )

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """All, in an order in which they can run."""
        return (*self.linear_jobs, *self.product_jobs)

    def _term(self, step: Product, term: CrossTerm) -> TermLayout:
        (instances, o, k), (_, _, a) = step.term_shapes(term)
        width = 1 << (a - 1).bit_length()
        batch = self.ring_degree // width
        groups = -(-self.tickets * instances // batch)
        return TermLayout(term, instances, o, k, a, width, batch, groups)

    @cached_property
    def job_of(self) -> dict[str, int]:
        """The number of the job that prepares a step, by the name of its result."""
        return {
            step.out.name: number
            for number, job in enumerate(self.jobs)
            for step in (job.steps if isinstance(job, LinearJob) else (job.step,))
        }

    @property
    def up(self) -> int:
        """Ciphertexts from the client."""
        return sum(chunk.up for job in self.jobs for chunk in job.chunks)

    @property
    def down(self) -> int:
        """Ciphertexts from the server."""
        return sum(chunk.down for job in self.jobs for chunk in job.chunks)


def _blocks(count: int, size: int = AT_ONCE) -> list[tuple[int, int]]:
    return [(start, min(start + size, count)) for start in range(0, count, size)]
