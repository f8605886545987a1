"""Plaintexts of SEAL: encoding, decoding and moves between slots. No key is held here.

:class:`SealCodec` is what client and server both do, reading ciphertexts off the wire included.
:class:`SealMoves` is what a client does with a polynomial modulo the whole modulus, and a server
with the mask that it added, exact to a fraction of a coefficient's unit: as long as both round
in the same precision, the difference of the two is what the move makes of the message alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from thex_hf.backends.numerics.embedding import (
    Complex,
    Double,
    as_seal_slots,
    coefficients_of,
    slot_exponents,
)
from thex_hf.backends.numerics.integers import IntegerPolynomial, residues_of, uniform_residues
from thex_hf.backends.numerics.modular import Words
from thex_hf.backends.numerics.ntt import Transform
from thex_hf.backends.seal.context import SealContext, SealHandle
from thex_hf.backends.seal.serialisation import from_bytes
from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, ComplexVector, Move, Vector
from thex_hf.errors import PlanError, WireError

Polynomials: TypeAlias = Sequence[IntegerPolynomial]


class SealCodec:
    """Encodes vectors and validates ciphertexts under one context. Holds no key."""

    def __init__(self, seal: SealContext) -> None:
        self._seal = seal
        self._encoder = seal.api.CKKSEncoder(seal.context)

    def encode(
        self, vector: AnyVector, level: int, scale: float, verb: str, *, alike: bool = False
    ) -> Any:
        """A SEAL plaintext of ``vector`` at ``level`` and ``scale``.

        ``alike`` takes the same time for a vector of one number as for any other.

        Raises:
            PlanError: wrong shape or level, not finite, or too large for the modulus.
        """
        parameters = self._seal.parameters
        values = rules.checked_vector(vector, parameters.slots, verb)
        rules.check_level(level, parameters, verb)
        plaintext = self._seal.api.Plaintext()
        content = _listed(values) if alike else _content(values)
        try:
            self._encoder.encode(content, self._seal.ids[level], scale, plaintext)
        except (ValueError, RuntimeError) as error:
            raise PlanError(
                f"{verb} at level {level}: values up to {abs(values).max():.3g} at scale "
                f"{scale:.3g} do not fit {self._seal.modulus_bits(level)} modulus bits ({error})"
            ) from error
        return plaintext

    def decode(self, plaintext: Any) -> Vector:
        """The real parts of the slots."""
        return np.array(self._encoder.decode_double(plaintext))

    def decode_complex(self, plaintext: Any) -> ComplexVector:
        """The slots with their imaginary parts."""
        return as_seal_slots(np.array(self._encoder.decode_complex(plaintext)))

    def load(self, data: bytes) -> SealHandle:
        """Read a ciphertext of size 2 and degree 1, whole or seed-compressed.

        Raises:
            WireError: damaged, too long, or not such a ciphertext of these parameters.
        """
        seal = self._seal
        ciphertext = seal.api.Ciphertext()
        limit = seal.ciphertext_limit()
        from_bytes(
            lambda path: ciphertext.load(seal.context, path), data, what="ciphertext", limit=limit
        )
        level = seal.level_of(ciphertext)
        if ciphertext.size() != 2 or not ciphertext.is_ntt_form():
            raise WireError(f"ciphertext must have 2 parts in NTT form, got {ciphertext.size()}")
        if ciphertext.scale != seal.parameters.scale:
            raise WireError(
                f"ciphertext must have scale {seal.parameters.scale}, got {ciphertext.scale}"
            )
        if ciphertext.is_transparent():
            raise WireError("ciphertext is transparent: it encrypts nothing")
        return SealHandle(ciphertext, level)


def _content(values: AnyVector) -> float | list[float] | list[complex]:
    """``values`` as SEAL's encoder takes them.

    One real number in every slot is a constant polynomial: exact, and ten times faster to
    encode than a list.
    """
    first = complex(values[0])
    if not first.imag and (values == first).all():
        return first.real
    return _listed(values)


def _listed(values: AnyVector) -> list[float] | list[complex]:
    """``values`` as SEAL's encoder takes any of them."""
    if np.iscomplexobj(values):
        turned: list[complex] = as_seal_slots(values.astype(np.complex128)).tolist()
        return turned
    numbers: list[float] = values.tolist()
    return numbers


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
