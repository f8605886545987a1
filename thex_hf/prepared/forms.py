"""The products of a network: what each computes, and the cross terms that a ticket holds of them.

A product ``z = f(a, b)`` of shared values ``a = hat_a + r_a``, ``b = hat_b + r_b`` is bilinear:

    f(a, b) = f(hat_a, hat_b) + f(hat_a, r_b) + f(r_a, hat_b) + f(r_a, r_b).

The server knows the first term, the client the last. Of the middle two the server reveals
``hat_a - A`` and ``hat_b - B`` under masks of one use; what is missing then, ``f(A, r_b)`` and
``f(r_a, B)``, depends on no text and comes from the preparation (Beaver 1991, with the two masks of
each factor on different sides).

Each of these cross terms is, for every instance, an ordinary matrix product of a matrix ``P`` of
the server and a matrix ``C`` of the client, ``out = P @ C``: see :class:`CrossTerm`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.field import Field

Shape: TypeAlias = tuple[int, ...]
View: TypeAlias = Callable[[Words], Words]


@dataclass(frozen=True)
class CrossTerm:
    """One cross term: instances of ``out = P @ C`` from views of the factors of one ticket or more.

    Every view keeps a leading axis of tickets.

    Args:
        server: which factor's mask the server has in it: ``left`` or ``right``.
        plain: from ``(T, *shape of that factor)`` to ``P``, ``(T, instances, o, k)``.
        cipher: from ``(T, *shape of the other factor)`` to ``C``, ``(T, instances, k, a)``.
        joined: from ``out``, ``(T, instances, o, a)``, to ``(T, *shape of the product)``.
    """

    server: str
    plain: View
    cipher: View
    joined: View


def flattened(term: CrossTerm, instances: int, o: int) -> CrossTerm:
    """The same term with each of the ``o`` rows of ``P`` as an instance, for ``C`` of one column.

    The client repeats ``C`` for them, and no slots stay empty.
    """

    def plain(x: Words) -> Words:
        p = term.plain(x)
        return p.reshape(len(p), instances * o, 1, -1)

    def cipher(x: Words) -> Words:
        c = term.cipher(x)
        return np.repeat(c, o, axis=1)

    def joined(out: Words) -> Words:
        return term.joined(out.reshape(len(out), instances, o, 1))

    return CrossTerm(term.server, plain, cipher, joined)


class Form(ABC):
    """A bilinear map of two arrays, with any number of leading axes."""

    symmetric = False  # of one factor with itself

    @property
    def left_is_clients(self) -> bool:
        """Whether the client knows the left factor, which the server holds masked."""
        return False

    @abstractmethod
    def shape(self, left: Shape, right: Shape) -> Shape:
        """Of the product."""

    @abstractmethod
    def apply(self, field: Field, left: Words, right: Words) -> Words:
        """The product."""

    @abstractmethod
    def terms(self) -> tuple[CrossTerm, ...]:
        """What the preparation must find."""


def _heads(x: Words, heads: int) -> Words:
    """``(..., rows, heads * size)`` to ``(..., heads, rows, size)``."""
    return np.moveaxis(x.reshape(*x.shape[:-1], heads, -1), -2, -3)


def _joined(x: Words) -> Words:
    """The way back."""
    moved = np.moveaxis(x, -3, -2)
    return moved.reshape(*moved.shape[:-2], -1)


def _turned(x: Words) -> Words:
    return np.swapaxes(x, -1, -2)


@dataclass(frozen=True)
class Scores(Form):
    """Queries ``(q, d)`` and keys ``(n, d)`` to scores ``(heads, q, n)``."""

    heads: int

    def shape(self, left: Shape, right: Shape) -> Shape:
        """``(heads, q, n)``."""
        return (self.heads, left[-2], right[-2])

    def apply(self, field: Field, left: Words, right: Words) -> Words:
        """``Q_h @ K_h.T``."""
        return field.matmul(_heads(left, self.heads), _turned(_heads(right, self.heads)))

    def terms(self) -> tuple[CrossTerm, ...]:
        """``A_q @ r_k.T``, whose slots go over keys, and ``A_k @ r_q.T``, over queries."""
        heads = self.heads

        def rows(x: Words) -> Words:
            return _heads(x, heads)

        def columns(x: Words) -> Words:
            return _turned(_heads(x, heads))

        return (
            CrossTerm("left", rows, columns, lambda out: out),
            CrossTerm("right", rows, columns, _turned),
        )


@dataclass(frozen=True)
class Context(Form):
    """Attention weights ``(heads, q, n)`` and values ``(n, d)`` to contexts ``(q, d)``.

    Args:
        heads: of attention.
        known: the client knows the weights.
    """

    heads: int
    known: bool = False

    @property
    def left_is_clients(self) -> bool:
        """Whether the client knows the weights."""
        return self.known

    def shape(self, left: Shape, right: Shape) -> Shape:
        """``(q, d)``."""
        return (left[-2], right[-1])

    def apply(self, field: Field, left: Words, right: Words) -> Words:
        """``P_h @ V_h``, heads side by side."""
        return _joined(field.matmul(left, _heads(right, self.heads)))

    def terms(self) -> tuple[CrossTerm, ...]:
        """``A_p @ r_v``, whose slots go over features, and ``A_v.T @ r_p.T``, over queries."""
        heads = self.heads
        over_features = CrossTerm("left", lambda p: p, lambda v: _heads(v, heads), _joined)
        over_queries = CrossTerm(
            "right",
            lambda v: _turned(_heads(v, heads)),
            _turned,
            lambda out: _joined(_turned(out)),
        )
        return (over_queries,) if self.known else (over_features, over_queries)


def _single(x: Words) -> Words:
    """Every number a matrix of one row and column."""
    return x.reshape(x.shape[0], -1, 1, 1)


def _back(shape: Shape) -> View:
    return lambda out: out.reshape(out.shape[0], *shape)


@dataclass(frozen=True)
class Times(Form):
    """Two arrays of one shape, element by element."""

    of: Shape

    def shape(self, left: Shape, right: Shape) -> Shape:
        """The same."""
        return self.of

    def apply(self, field: Field, left: Words, right: Words) -> Words:
        """Element by element."""
        return field.multiply(left, right)

    def terms(self) -> tuple[CrossTerm, ...]:
        """``A_a r_b`` and ``A_b r_a``."""
        return tuple(
            CrossTerm(side, _single, _single, _back(self.of)) for side in ("left", "right")
        )


@dataclass(frozen=True)
class Square(Times):
    """An array times itself: of ``2 A r`` there is one."""

    symmetric = True

    def terms(self) -> tuple[CrossTerm, ...]:
        """``A r``, which counts twice."""
        return super().terms()[:1]


@dataclass(frozen=True)
class SquaredSum(Form):
    """Rows ``(n, d)`` to the sum of the squares of each, ``(n, 1)``."""

    symmetric = True

    def shape(self, left: Shape, right: Shape) -> Shape:
        """``(n, 1)``."""
        return (left[-2], 1)

    def apply(self, field: Field, left: Words, right: Words) -> Words:
        """The inner product of row and row."""
        return field.matmul(left[..., None, :], right[..., :, None])[..., 0]

    def terms(self) -> tuple[CrossTerm, ...]:
        """``A . r`` of each row, which counts twice."""
        return (
            CrossTerm(
                "left",
                lambda a: a[..., None, :],
                lambda r: r[..., :, None],
                lambda out: out[..., 0],
            ),
        )


@dataclass(frozen=True)
class Scaled(Form):
    """A number for each row, ``(n, 1)``, times the rows of an array ``(n, d)``."""

    of: Shape

    def shape(self, left: Shape, right: Shape) -> Shape:
        """As the array's."""
        return self.of

    def apply(self, field: Field, left: Words, right: Words) -> Words:
        """``left * right``."""
        return field.multiply(np.broadcast_to(left, right.shape), right)

    def terms(self) -> tuple[CrossTerm, ...]:
        """``A_left r_right``, number by number, and ``A_right r_left``, all rows side by side."""
        features = self.of[-1]
        return (
            CrossTerm(
                "left",
                lambda a: _single(np.repeat(a, features, axis=-1)),
                _single,
                _back(self.of),
            ),
            CrossTerm(
                "right",
                lambda a: a[..., None],
                lambda r: r[..., None],
                lambda out: out[..., 0],
            ),
        )


@dataclass(frozen=True)
class Masked(Form):
    """A number for each row, which the client knows, times the rows of an array ``(n, d)``."""

    features: int

    @property
    def left_is_clients(self) -> bool:
        """Always."""
        return True

    def shape(self, left: Shape, right: Shape) -> Shape:
        """As the array's."""
        return right

    def apply(self, field: Field, left: Words, right: Words) -> Words:
        """``left[..., None] * right``."""
        return field.multiply(np.broadcast_to(left[..., None], right.shape), right)

    def terms(self) -> tuple[CrossTerm, ...]:
        """``r_left B``: every row's number meets the features of that row."""
        return (
            CrossTerm(
                "right",
                lambda b: b[..., None],
                lambda r: r[..., None, None],
                lambda out: out[..., 0],
            ),
        )
