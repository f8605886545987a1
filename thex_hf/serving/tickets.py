"""Batches of tickets that all workers of a server share, in tables that the disk has.

Three tables: batches with their seeds, how often each job was begun, which tickets are spent. What
a method returns has been committed. Every change writes before it reads: of two that spend one
ticket, or begin one job, the second waits at the row of the first.
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from thex_hf.errors import OptionError, QuotaError, TicketError
from thex_hf.protocol.prepared_server import (
    MOST_BATCHES,
    IssuedBatch,
    TicketCounts,
    new_batch,
    no_batch,
    spent,
)
from thex_hf.serving.fairness import share_exhausted

TRIES = 5
"""For a row that two wanted to be the first to write."""

TABLES = {
    "thex_hf_ticket_batches": (
        "batch VARCHAR(32) PRIMARY KEY, owner VARCHAR(64) NOT NULL, plan_id VARCHAR(64) NOT NULL, "
        "keys_name VARCHAR(64) NOT NULL, tickets INTEGER NOT NULL, seed VARCHAR(64) NOT NULL, "
        "made DOUBLE PRECISION NOT NULL"
    ),
    "thex_hf_ticket_jobs": (
        "batch VARCHAR(32) NOT NULL, job INTEGER NOT NULL, attempts INTEGER NOT NULL, "
        "PRIMARY KEY (batch, job)"
    ),
    "thex_hf_tickets_spent": (
        "batch VARCHAR(32) NOT NULL, ticket INTEGER NOT NULL, PRIMARY KEY (batch, ticket)"
    ),
}
BATCHES, JOBS, SPENT = TABLES


@dataclass(frozen=True)
class TicketLimits:
    """Bounds of a ledger.

    Args:
        keys: batches under one key file of an owner; the one with the fewest tickets left goes
            when there is one more. Clients are told the bound, and stop before that.
        total: batches in all, shared by :func:`~thex_hf.serving.fairness.share_exhausted`.
        seconds: after which a batch expires.

    Raises:
        OptionError: a bound that nothing fits.
    """

    keys: int = MOST_BATCHES
    total: int = 4096
    seconds: float = 7 * 86400.0

    def __post_init__(self) -> None:
        """Check that every bound is above zero."""
        if min(self.keys, self.total, self.seconds) <= 0:
            raise OptionError("the bounds of tickets should be above zero")


class RowTaken(Exception):
    """A row of the same primary key is there already."""


class Transaction(Protocol):
    """Statements with ``:name`` for values. What it changed is kept if its block ends well."""

    def rows(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        """The rows that a query gives."""
        ...

    def change(self, statement: str, values: Mapping[str, Any]) -> int:
        """How many rows were changed. Raises RowTaken."""
        ...


@dataclass
class TableLedger(ABC):
    """A :class:`~thex_hf.protocol.prepared_server.TicketLedger` in tables.

    Args:
        limits: of what it keeps.
        clock: seconds since 1970, which all servers have about in common.
    """

    limits: TicketLimits = field(default_factory=TicketLimits, kw_only=True)
    clock: Callable[[], float] = field(default=time.time, kw_only=True, repr=False)

    @property
    def most_batches(self) -> int:
        """Under one key file."""
        return self.limits.keys

    @property
    def seconds(self) -> float:
        """After which a batch expires."""
        return self.limits.seconds

    @abstractmethod
    def transaction(self, what: str) -> AbstractContextManager[Transaction]:
        """Statements that are committed together, and durably, at the end of the block.

        Args:
            what: is done, for errors.

        Raises:
            KeyStoreError: the place cannot be read or written.
        """

    def open(self, owner: str, plan: str, keys: str, tickets: int) -> IssuedBatch:
        """A new batch; if there are too many, that with the fewest tickets left goes.

        That is of those under these keys, the oldest first.

        Raises:
            QuotaError: no room for another batch of this owner.
            KeyStoreError: the place cannot be written.
        """
        batch = new_batch(plan, keys, tickets, self.clock())
        with self.transaction("open a batch of tickets") as tables:
            row = {
                "batch": batch.id.hex(),
                "owner": _hashed(owner),
                "plan": plan,
                "keys": keys,
                "tickets": tickets,
                "seed": batch.seed.hex(),
                "made": batch.made,
            }
            tables.change(
                f"INSERT INTO {BATCHES} (batch, owner, plan_id, keys_name, tickets, seed, made) "
                f"VALUES (:batch, :owner, :plan, :keys, :tickets, :seed, :made)",
                row,
            )
            self._drop_expired(tables)
            found = tables.rows(
                f"SELECT batch, owner, keys_name FROM {BATCHES} AS kept WHERE batch <> :batch "
                f"ORDER BY tickets - (SELECT COUNT(*) FROM {SPENT} AS used "
                f"WHERE used.batch = kept.batch), made",
                row,
            )
            owned = [one for one in found if one[1] == row["owner"]]
            same = [one[0] for one in owned if one[2] == keys]
            full = share_exhausted(owner, len(owned), len(found), self.limits.total)
            if full and not same:
                raise QuotaError(
                    f"no room for a batch of tickets: {len(owned)} of yours and {len(found)} in "
                    f"all are kept; delete keys, or come back later"
                )
            for old in same[: max(full, len(same) + 1 - self.limits.keys)]:
                _drop(tables, old)
        return batch

    def get(self, owner: str, batch: bytes) -> IssuedBatch:
        """A batch. Raises TicketError: the owner has none of that name. KeyStoreError."""
        with self.transaction("read a batch of tickets") as tables:
            return self._read(tables, owner, batch)

    def begin(self, owner: str, batch: bytes, job: int) -> int:
        """Count one more attempt at a job: its number, from 1. Raises as :meth:`get`."""
        for _ in range(TRIES):
            try:
                return self._begin(owner, batch, job)
            except RowTaken:
                continue
        raise TicketError(f"batch {batch.hex()} is prepared by too many at once; try again")

    def _begin(self, owner: str, batch: bytes, job: int) -> int:
        with self.transaction("begin a job of a batch of tickets") as tables:
            row = {"batch": batch.hex(), "job": job}
            same = "WHERE batch = :batch AND job = :job"
            if not tables.change(f"UPDATE {JOBS} SET attempts = attempts + 1 {same}", row):
                tables.change(f"INSERT INTO {JOBS} VALUES (:batch, :job, 1)", row)
            self._read(tables, owner, batch)  # after the write: one that goes now is seen to go
            return int(tables.rows(f"SELECT attempts FROM {JOBS} {same}", row)[0][0])

    def spend(self, owner: str, batch: bytes, ticket: int) -> IssuedBatch:
        """Mark a ticket as spent, for good.

        Raises:
            TicketError: unknown, or spent before.
            KeyStoreError: the place cannot be written.
        """
        try:
            with self.transaction("spend a ticket") as tables:
                row = {"batch": batch.hex(), "ticket": ticket}
                tables.change(f"INSERT INTO {SPENT} VALUES (:batch, :ticket)", row)
                issued = self._read(tables, owner, batch)  # after the write, as above
                if not 0 <= ticket < issued.tickets:
                    raise TicketError(
                        f"batch {batch.hex()} has {issued.tickets} tickets, not {ticket + 1}"
                    )
                return issued
        except RowTaken:
            self.get(owner, batch)  # of another owner's nothing is said
            raise spent(batch, ticket) from None

    def forget(self, owner: str, keys: str) -> int:
        """Drop an owner's batches under some keys; how many. Raises KeyStoreError."""
        with self.transaction("drop batches of tickets") as tables:
            row = {"owner": _hashed(owner), "keys": keys}
            return _drop_all(tables, "owner = :owner AND keys_name = :keys", row)

    def sweep(self) -> int:
        """Drop what has expired, and marks of batches that are gone; how many batches."""
        with self.transaction("sweep the tickets") as tables:
            dropped = self._drop_expired(tables)
            for table in (JOBS, SPENT):
                tables.change(
                    f"DELETE FROM {table} WHERE batch NOT IN (SELECT batch FROM {BATCHES})", {}
                )
        return dropped

    def clear(self) -> int:
        """Drop all batches, as after a backup was restored; how many."""
        with self.transaction("drop all tickets") as tables:
            return _drop_all(tables, "1 = 1", {})

    def counts(self) -> TicketCounts:
        """What is kept. Raises KeyStoreError."""
        with self.transaction("count the tickets") as tables:
            batches, tickets = tables.rows(f"SELECT COUNT(*), SUM(tickets) FROM {BATCHES}", {})[0]
            ((jobs,),) = tables.rows(f"SELECT SUM(attempts) FROM {JOBS}", {})
            ((used,),) = tables.rows(f"SELECT COUNT(*) FROM {SPENT}", {})
        return TicketCounts(int(batches), int(tickets or 0) - int(used), int(used), int(jobs or 0))

    def _read(self, tables: Transaction, owner: str, batch: bytes) -> IssuedBatch:
        row = {"batch": batch.hex(), "owner": _hashed(owner), "end": self._end()}
        found = tables.rows(
            f"SELECT plan_id, keys_name, tickets, seed, made FROM {BATCHES} "
            f"WHERE batch = :batch AND owner = :owner AND made >= :end",
            row,
        )
        if not found:
            raise no_batch(batch)
        plan, keys, tickets, seed, made = found[0]
        attempts = tables.rows(f"SELECT job, attempts FROM {JOBS} WHERE batch = :batch", row)
        used = tables.rows(f"SELECT ticket FROM {SPENT} WHERE batch = :batch", row)
        return IssuedBatch(
            batch,
            plan,
            keys,
            int(tickets),
            bytes.fromhex(seed),
            {int(job): int(count) for job, count in attempts},
            {int(one[0]) for one in used},
            float(made),
        )

    def _end(self) -> float:
        return self.clock() - self.limits.seconds

    def _drop_expired(self, tables: Transaction) -> int:
        return _drop_all(tables, "made < :end", {"end": self._end()})


def _drop_all(tables: Transaction, which: str, row: Mapping[str, Any]) -> int:
    old = [one[0] for one in tables.rows(f"SELECT batch FROM {BATCHES} WHERE {which}", row)]
    for batch in old:
        _drop(tables, batch)
    return len(old)


def _drop(tables: Transaction, batch: str) -> None:
    for table in (BATCHES, JOBS, SPENT):
        tables.change(f"DELETE FROM {table} WHERE batch = :batch", {"batch": batch})


def _hashed(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()
