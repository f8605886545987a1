"""What messages of the prepared protocol hold: numbers of 8 bytes, names of tickets and jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import WireError
from thex_hf.prepared.field import WORD, Field
from thex_hf.prepared.network import Value

BATCH_BYTES, NUMBER_BYTES = 16, 4


def dumped(arrays: Sequence[Words]) -> list[bytes]:
    """One bytes object for each array."""
    return [np.ascontiguousarray(array, "<u8").tobytes() for array in arrays]


def loaded(data: Sequence[bytes], values: Sequence[Value], numbers: Field) -> list[Words]:
    """The arrays of some values.

    Raises:
        WireError: another number of arrays, another size, or a number that is not below the prime.
    """
    if len(data) != len(values):
        raise WireError(f"expected {len(values)} arrays of numbers, got {len(data)}")
    out = []
    for one, value in zip(data, values, strict=True):
        if len(one) != WORD * value.size:
            raise WireError(f"expected {WORD * value.size} bytes of {value.name!r}, got {len(one)}")
        array = np.frombuffer(one, "<u8").reshape(value.shape)
        if int(array.max(initial=0)) >= numbers.prime:
            raise WireError(f"numbers of {value.name!r} must be below {numbers.prime}")
        out.append(array)
    return out


def preparation_id(plan: str) -> str:
    """The id under which a plan's tickets are prepared."""
    return hashlib.sha256(f"prepare {plan}".encode()).hexdigest()[:32]


def read_name(part: list[bytes]) -> tuple[bytes, int]:
    """The batch and the number of a ticket or job.

    Raises:
        WireError: it is no name.
    """
    if len(part) != 1 or len(part[0]) != BATCH_BYTES + NUMBER_BYTES:
        raise WireError(
            f"expected the name of a ticket, {BATCH_BYTES + NUMBER_BYTES} bytes, got {part!r:.60}"
        )
    return part[0][:BATCH_BYTES], int.from_bytes(part[0][BATCH_BYTES:], "big")


def write_name(batch: bytes, number: int) -> list[bytes]:
    """The part that :func:`read_name` reads."""
    return [batch + number.to_bytes(NUMBER_BYTES, "big")]
