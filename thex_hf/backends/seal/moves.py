"""Moves between the slots of SEAL plaintexts, exact to a fraction of a coefficient's unit.

What a client does with a polynomial modulo the whole modulus, and a server with the mask that
it added: as long as both round in the same precision, the difference of the two is what the
move makes of the message alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np

from thex_hf.backends.numerics.doubles import Complex, Double
from thex_hf.backends.numerics.embedding import coefficients_of, slot_exponents
from thex_hf.backends.numerics.integers import IntegerPolynomial, residues_of, uniform_residues
from thex_hf.backends.numerics.modular import Words
from thex_hf.backends.numerics.ntt import Transform
from thex_hf.backends.seal.codec import SealCodec
from thex_hf.backends.seal.context import SealContext
from thex_hf.ckks.packing.moves import Move

Polynomials: TypeAlias = Sequence[IntegerPolynomial]


class SealMoves:
    """Exact arithmetic on the polynomials of one context. Holds no key."""

    def __init__(self, seal: SealContext) -> None:
        self._seal = seal

    def random(self, level: int) -> Words:
        """Words ``(level + 1, N)`` of a polynomial uniform modulo the modulus of ``level``."""
        degree, primes = self._seal.parameters.ring_degree, self._seal.primes[: level + 1]
        return np.stack([uniform_residues(degree, prime) for prime in primes])

    def integers(self, words: Words) -> IntegerPolynomial:
        """The coefficients behind the words of a plaintext."""
        limbs = [t.backward(row) for t, row in zip(self._transforms, words, strict=False)]
        return IntegerPolynomial(np.stack(limbs), self._seal.primes[: len(words)])

    def move(self, sources: Polynomials, move: Move, level: int) -> list[Words]:
        """Words ``(level + 1, N)`` of the plaintexts that ``move`` makes of ``sources``."""
        primes = self._seal.primes[: level + 1]
        if move.still:
            polynomials = [[source.residues(p) for p in primes] for source in sources]
        else:
            slots = _flat([source.slots for source in sources], real=move.real)
            made = [_coefficients(slots, move, target) for target in range(move.targets)]
            polynomials = [[residues_of(numbers, p) for p in primes] for numbers in made]
        return [
            np.stack([t.forward(row) for t, row in zip(self._transforms, rows, strict=False)])
            for rows in polynomials
        ]

    @cached_property
    def _transforms(self) -> list[Transform]:
        """One for each prime, with SEAL's own roots: word 0 of the polynomial ``x``."""
        seal, degree = self._seal, self._seal.parameters.ring_degree
        slots = np.exp(1j * np.pi * slot_exponents(degree) / degree)
        x = SealCodec(seal).encode(slots, len(seal.primes) - 1, 1.0, "move")
        roots = [int(x.data(limb * degree)) for limb in range(len(seal.primes))]
        for limb, (root, prime) in enumerate(zip(roots, seal.primes, strict=True)):
            assert x.data(limb * degree + 1) == prime - root, "NTT order is not SEAL's"
        return [Transform(degree, *pair) for pair in zip(seal.primes, roots, strict=True)]


def _flat(slots: Sequence[Complex], *, real: bool) -> Complex:
    """The slots of all sources one after the other, and a zero."""
    zero = np.zeros(1)
    real_part, imaginary = (
        Double(*(np.concatenate([*(part[half] for part in parts), zero]) for half in (0, 1)))
        for parts in zip(*slots, strict=True)
    )
    return Complex(real_part, imaginary.scaled(0.0) if real else imaginary)


def _coefficients(slots: Complex, move: Move, target: int) -> Double:
    """Whole coefficients of one target."""
    places = move.places[target]
    return coefficients_of(slots.each(lambda a: a[places] * move.factor)).rounded()
