"""Shared numbers as bytes: 8 a number, little-endian, in the order of their array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.errors import WireError
from thex_hf.prepared.field import WORD, Field
from thex_hf.prepared.network import Value


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
