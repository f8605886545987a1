"""What follows from an estimate: memory and disk that are needed, and which protocol to take."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thex_hf._machine import free_memory
from thex_hf.circuits.protocols import PROTOCOL_FACTS, protects_model

Row = dict[str, Any]

BASE_BYTES = 1_300_000_000
"""Of Python, the plan and the ciphertexts of one text, as measured at hidden 384 and N = 8192."""
SPARE = 1.05
"""SEAL takes memory in pieces, a little more than it hands out."""


@dataclass(frozen=True)
class Machine:
    """What this machine has left, in bytes."""

    memory: float
    disk: float

    @classmethod
    def here(cls) -> Machine:
        """This one; the disk is that of the home directory."""
        return cls(free_memory(), shutil.disk_usage(Path.home()).free)


def memory_of(row: Row) -> int:
    """Bytes that client and server in one process take, with all weights encoded."""
    return round(float(least_memory(row) + SPARE * row["plaintext_bytes"]))


def least_memory(row: Row) -> int:
    """The same with no weight kept encoded: keys are there as bytes and as objects."""
    return round(float(BASE_BYTES + 2 * row["key_bytes"]))


def disk_of(row: Row) -> int:
    """Bytes of keys, and of a batch of tickets where the protocol has them."""
    return int(row["key_bytes"] + row.get("ticket_disk_bytes", 0) * row.get("batch_tickets", 0))


def seconds_of(row: Row, machine: Machine) -> float:
    """The server's seconds for one text: by default half of what is free holds encoded weights.

    What these do not hold is encoded for each text; a ticket counts as part of its text.
    """
    weights = row["plaintext_bytes"]
    left = max(0.0, weights - machine.memory / 2) / weights if weights else 0.0
    again = row["prepare_seconds"] * left
    return float(row["server_seconds"] + again + row.get("ticket_seconds", 0.0))


def with_needs(rows: Sequence[Row], machine: Machine) -> list[Row]:
    """The rows with what follows for this machine.

    ``memory_bytes``; ``bounded_seconds``: :func:`seconds_of`; ``texts_per_hour``: that one core
    gets through if it makes the tickets too, both sides of them.
    """
    return [
        {
            **row,
            "memory_bytes": memory_of(row),
            "bounded_seconds": (seconds := seconds_of(row, machine)),
            "texts_per_hour": 3600 / seconds if seconds else None,
        }
        for row in rows
    ]


def needs(rows: Sequence[Row], machine: Machine) -> list[str]:
    """For each protocol what its longest texts need, beside what there is."""
    out = []
    for row in _longest(rows):
        name = f"{row['protocol']}, {row['tokens']} tokens"
        out.append(
            f"{name}: needs {_gigabytes(memory_of(row))} of memory, "
            f"{_gigabytes(machine.memory)} are free here"
        )
        if memory_of(row) > machine.memory or row["plaintext_bytes"] > machine.memory / 2:
            kept = min(row["plaintext_bytes"], machine.memory / 2)
            rest = row["plaintext_bytes"] - kept
            out.append(
                f"warning: {name}: {_gigabytes(kept)} of its encoded weights are kept by default, "
                f"half of what is free; the other {_gigabytes(rest)} are encoded anew for every "
                f"text: {seconds_of(row, machine):.0f} s a text in place of "
                f"{row['server_seconds']:.0f} s"
            )
        if least_memory(row) > machine.memory:
            out.append(
                f"warning: {name}: {_gigabytes(least_memory(row))} are needed even if no weight "
                f"is kept encoded: this machine's memory does not suffice"
            )
        if disk_of(row) > machine.disk:
            out.append(
                f"warning: {name}: keys kept in a folder take {_gigabytes(disk_of(row))}, "
                f"{_gigabytes(machine.disk)} of disk are free here"
            )
    return out


def recommendation(rows: Sequence[Row], machine: Machine, form: str | None = None) -> str:
    """One protocol, and why: model and text protected first, then the seconds of a text here.

    Args:
        rows: of the estimate.
        machine: that would serve.
        form: of the model; None: each protocol has one of the form that it protects.
    """
    rows = _longest(rows)
    able = [row for row in rows if least_memory(row) <= machine.memory]
    if not able:
        return "recommended: none, the memory of this machine suffices for no protocol"
    guarded = [row for row in able if _protects(row["protocol"], form)]
    best = min(guarded or able, key=lambda row: seconds_of(row, machine))
    others = [row for row in able if row is not best]
    reasons = []
    if guarded:
        reasons.append("it protects text and model")
        rivals = [row for row in guarded if row is not best]
        if rivals:
            near = min(rivals, key=lambda row: seconds_of(row, machine))
            reasons.append(
                f"a text of {best['tokens']} tokens takes {_seconds(best, machine)}, the least of "
                f"those that do ({near['protocol']}: {_seconds(near, machine)})"
            )
        open_ones = [row for row in others if row not in guarded]
        if open_ones:
            reasons.append(
                f"{open_ones[0]['protocol']}, {_seconds(open_ones[0], machine)}, shows the client "
                f"numbers from which the weights could be rebuilt"
            )
    else:
        why = "it takes the least time" if others else "no other protocol serves this model here"
        reasons.append(f"{why}; it protects the text, not the model")
    return f"recommended: {best['protocol']}: {'; '.join(reasons)}"


def _protects(protocol: str, form: str | None) -> bool:
    return protects_model(protocol, form or PROTOCOL_FACTS[protocol].form)


def _longest(rows: Sequence[Row]) -> list[Row]:
    """Of each protocol the row of most tokens that all protocols have."""
    protocols = dict.fromkeys(row["protocol"] for row in rows)
    by_name = {name: {r["tokens"]: r for r in rows if r["protocol"] == name} for name in protocols}
    shared = set.intersection(*(set(lengths) for lengths in by_name.values()))
    most = max(shared, default=math.inf)
    return [lengths.get(most, lengths[max(lengths)]) for lengths in by_name.values()]


def _seconds(row: Row, machine: Machine) -> str:
    seconds = seconds_of(row, machine)
    shown = f"{seconds:.2f} s" if seconds < 0.1 else f"{seconds:.1f} s"
    return shown + (" with its ticket" if "ticket_seconds" in row else "")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
