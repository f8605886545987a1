"""Real numbers as small integers, and one linear map of an encoder on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thex_hf.weights import Array

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Quantiser:
    """Symmetric: ``integer = clip(round(value / step), -most, most)``."""

    step: float
    most: int

    @classmethod
    def over(cls, largest: float, bits: int) -> Quantiser:
        """Signed integers of ``bits`` bits that reach ``largest``."""
        most = 2 ** (bits - 1) - 1
        return cls(max(largest, 1e-9) / most, most)

    def encode(self, values: Array) -> Integers:
        """Integers for real values of any shape; those out of range are clipped."""
        return np.clip(np.rint(values / self.step), -self.most, self.most).astype(np.int64)


@dataclass(frozen=True)
class Frame:
    """What both sides know of one linear map on encrypted rows.

    Args:
        name: of the map, unique in its model and bucket.
        rows: how many rows it takes at once.
        inputs: a quantiser for each part of a row.
        widths: features of each part.
        outputs: features of a result.
        step: size of one unit of the result.
    """

    name: str
    rows: int
    inputs: tuple[Quantiser, ...]
    widths: tuple[int, ...]
    outputs: int
    step: float

    def encode(self, parts: Sequence[Array]) -> Integers:
        """Integers ``(rows, sum of widths)`` for the parts, each ``(rows, width)``."""
        pairs = zip(self.inputs, parts, strict=True)
        return np.concatenate([quantiser.encode(part) for quantiser, part in pairs], axis=1)

    def decode(self, integers: Integers) -> Array:
        """Real values ``(rows, outputs)`` of a result."""
        return np.asarray(integers * self.step)


@dataclass(frozen=True)
class Linear:
    """A frame with the weights in it, which the server alone has: ``x @ weights + bias``."""

    frame: Frame
    weights: Integers  # (sum of widths, outputs)
    bias: Integers  # (outputs,)

    def apply(self, integers: Integers) -> Integers:
        """The map on integers ``(rows, sum of widths)``: what the circuit computes, exactly."""
        return integers @ self.weights + self.bias

    @property
    def bits(self) -> dict[str, int]:
        """Of the largest weight and of the largest result, signs included."""
        return {"weight_bits": bits_of(self.weights), "result_bits": self.result_bits}

    @property
    def result_bits(self) -> int:
        """Bits of the largest result there can be, its sign included."""
        most = np.concatenate(
            [
                np.full(width, quantiser.most)
                for quantiser, width in zip(self.frame.inputs, self.frame.widths, strict=True)
            ]
        )
        return int((most @ np.abs(self.weights) + np.abs(self.bias)).max()).bit_length() + 1


@dataclass(frozen=True)
class Block:
    """A linear map, ReLU, and a second map with the input beside it; nobody decrypts in between.

    Of ``x @ first + first_bias`` the ``cut`` lowest bits are rounded off, and a table looks up the
    rest: one programmable bootstrap for each of the ``m`` features between.

    Args:
        frame: of the block; its one part is ``x`` of ``w`` features.
        first: ``(w, m)``.
        first_bias: ``(m,)``.
        between_bits: of a value between the maps, its sign included; a larger one wraps around.
        table_bits: what is left of them for the table.
        second: ``(m, outputs)``, of the looked-up values.
        beside: ``(w, outputs)``, of the input itself.
        bias: ``(outputs,)``.
    """

    frame: Frame
    first: Integers
    first_bias: Integers
    between_bits: int
    table_bits: int
    second: Integers
    beside: Integers
    bias: Integers

    @property
    def cut(self) -> int:
        """Bits rounded off before the table."""
        return self.between_bits - self.table_bits

    def apply(self, integers: Integers) -> Integers:
        """The block on integers ``(rows, w)``.

        Concrete's rounding may be off by one where a value lies between two steps; this one is
        exact. A value too large for ``between_bits`` finds the place in the table where it wraps
        to, with the other sign for every turn, as bootstraps do.
        """
        between = integers @ self.first + self.first_bias
        kept = (between + ((1 << self.cut) >> 1)) >> self.cut
        full = 1 << self.table_bits
        turns = (kept + full // 2) // full
        active = np.maximum(kept - full * turns, 0) * (1 - 2 * (turns % 2))
        result: Integers = active @ self.second + integers @ self.beside + self.bias
        return result

    @property
    def bits(self) -> dict[str, int]:
        """Of the largest weights, of what is between, of its table and of the largest result."""
        return {
            "weight_bits": bits_of(self.first),
            "between_bits": self.between_bits,
            "table_bits": self.table_bits,
            "second_bits": bits_of(self.second),
            "result_bits": self.result_bits,
        }

    @property
    def result_bits(self) -> int:
        """Bits of the largest result there can be, its sign included."""
        (quantiser,) = self.frame.inputs
        most = np.abs(self.second).sum(0) * (1 << (self.table_bits - 1))
        most = most + quantiser.most * np.abs(self.beside).sum(0) + np.abs(self.bias)
        return int(most.max()).bit_length() + 1


def bits_of(integers: Integers) -> int:
    """Bits of the largest of some integers, its sign included."""
    return int(np.abs(integers).max()).bit_length() + 1


def linear(
    name: str,
    rows: int,
    parts: Sequence[tuple[Array, Quantiser]],
    bias: Array,
    bits: int,
) -> Linear:
    """Quantise ``y = sum of part @ W.T + bias``.

    Args:
        name: of the map.
        rows: how many rows it takes at once.
        parts: for each part of the input its ``W`` ``(outputs, width)`` and its quantiser.
        bias: ``(outputs,)``.
        bits: of the largest weight. A part whose values are coarser than another's gets larger
            weights, so that all count in one unit.
    """
    scaled = np.concatenate([(matrix * quantiser.step).T for matrix, quantiser in parts])
    step = float(np.abs(scaled).max()) / (2 ** (bits - 1) - 1)
    frame = Frame(
        name,
        rows,
        tuple(quantiser for _, quantiser in parts),
        tuple(matrix.shape[1] for matrix, _ in parts),
        len(bias),
        step,
    )
    return Linear(
        frame, np.rint(scaled / step).astype(np.int64), np.rint(bias / step).astype(np.int64)
    )


def block(
    name: str,
    rows: int,
    quantiser: Quantiser,
    first: tuple[Array, Array],
    second: tuple[Array, Array, Array],
    largest: float,
    bits: tuple[int, int, int],
) -> Block:
    """Quantise ``y = relu(x @ A.T + a) @ B.T + x @ C.T + b``.

    Args:
        name: of the map.
        rows: how many rows it takes at once.
        quantiser: of ``x``.
        first: ``A`` ``(m, w)`` and ``a`` ``(m,)``.
        second: ``B`` ``(outputs, m)``, ``C`` ``(outputs, w)`` and ``b`` ``(outputs,)``.
        largest: what ``x @ A.T + a`` will not exceed in size.
        bits: of the largest of ``A``, of the table, and of the largest of ``B`` and ``C``. What
            ``largest`` leaves unused of the bits between is given to ``A``.
    """
    weight_bits, table_bits, second_bits = bits
    rough = float(np.abs(first[0]).max()) / (2 ** (weight_bits - 1) - 1)
    between_bits = max(int(np.ceil(np.log2(largest / (rough * quantiser.step)))) + 1, table_bits)
    unit = largest / 2 ** (between_bits - 1)
    active = unit * 2 ** (between_bits - table_bits)
    parts = np.concatenate([second[0] * active, second[1] * quantiser.step], axis=1)
    step = float(np.abs(parts).max()) / (2 ** (second_bits - 1) - 1)
    whole = np.rint(parts / step).astype(np.int64)
    width = len(first[1])
    return Block(
        Frame(name, rows, (quantiser,), (first[0].shape[1],), len(second[2]), step),
        np.rint(first[0].T * quantiser.step / unit).astype(np.int64),
        np.rint(first[1] / unit).astype(np.int64),
        between_bits,
        table_bits,
        np.ascontiguousarray(whole[:, :width].T),
        np.ascontiguousarray(whole[:, width:].T),
        np.rint(second[2] / step).astype(np.int64),
    )
