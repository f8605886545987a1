"""The verbs of a slot machine, as two protocols: what a server can do, what a client can.

A CKKS ciphertext is a vector of N/2 complex slots; most circuits fill them with reals
only. Everything above (packing, circuit, planner) is written against these verbs and
never knows which library runs.

Handles are opaque. Each has a *level* (how many rescalings are left), a *degree of
scale* (1 after encryption or rescale, 2 after a product) and a *size* (2 parts, or 3
after a ciphertext product until it is relinearised). All verbs are functional: they
return a new handle and never change an argument.

A :class:`Move` is a real-linear map from the slots of some ciphertexts to those of others: copies,
and zeros. It is what a client does with what it is asked to encrypt afresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thex_hf.errors import PlanError

Handle: TypeAlias = Any
Plaintext: TypeAlias = Any
Blinding: TypeAlias = Any
Vector: TypeAlias = NDArray[np.float64]
ComplexVector: TypeAlias = NDArray[np.complex128]
AnyVector: TypeAlias = Vector | ComplexVector


@dataclass(frozen=True, eq=False)
class Move:
    """How slots of ciphertexts that were decrypted are laid out in those encrypted afresh.

    Args:
        sources: ciphertexts that are read.
        places: shape ``(targets, slots)``; which slot each takes, counted through all sources
            one after the other, or -1 for zero.
        factor: a power of two that every slot is multiplied by.
        real: imaginary parts are dropped.

    Raises:
        PlanError: places beyond the sources, or a factor that is no power of two.
    """

    sources: int
    places: NDArray[np.int64]
    factor: float = 1.0
    real: bool = False

    def __post_init__(self) -> None:
        within = (self.places >= -1) & (self.places < self.sources * self.slots)
        if not (within.all() and np.frexp(self.factor)[0] == 0.5):
            raise PlanError(
                f"a move takes slots 0 to {self.sources * self.slots - 1} or -1 and a power of "
                f"two, got {self.places.min()} to {self.places.max()} and {self.factor}"
            )

    @property
    def targets(self) -> int:
        """Ciphertexts that are written."""
        return len(self.places)

    @property
    def slots(self) -> int:
        """Slots in a ciphertext."""
        return int(self.places.shape[1])

    @cached_property
    def still(self) -> bool:
        """Whether every ciphertext stays as it is."""
        places = np.arange(self.sources * self.slots)
        same = self.places.size == places.size and bool((self.places.ravel() == places).all())
        return same and self.factor == 1.0 and not self.real

    def apply(self, vectors: Sequence[AnyVector]) -> list[AnyVector]:
        """The slots of the targets, given those of the sources, ``(slots,)`` each."""
        flat = np.append(np.concatenate(vectors), 0.0)
        every: AnyVector = (flat.real if self.real else flat) * self.factor
        return list(every[self.places])


class ServerEngine(Protocol):
    """What a server does with ciphertexts. There is no way to decrypt.

    Every method raises :class:`thex_hf.errors.PlanError` when levels, scales or sizes
    do not allow the operation, when a key is missing and when it does not reach so high
    a level.
    """

    @property
    def slots(self) -> int:
        """Slots in a ciphertext, each of which holds one real or one complex number."""
        ...

    def level(self, a: Handle) -> int:
        """Rescalings that ``a`` still allows."""
        ...

    def scale_ratio(self, level: int) -> float:
        """``nominal scale / prime`` of ``level`` (1 or more): how far the scale drifts there.

        A product of ciphertexts has scale ``nominal**2`` and is treated as
        ``nominal * prime`` of its level, so that :meth:`mul` multiplies its result by this
        ratio: off by up to 2^-8 for primes of 30 bits. Fold its inverse into a weight.
        1.0 on engines that have no primes. Products with plaintexts do not drift.
        """
        ...

    def encode(self, vector: AnyVector, level: int, *, factor: bool) -> Plaintext:
        """Encode ``(slots,)`` float64 or complex128 for use with handles at ``level``.

        ``factor=True`` prepares an operand of :meth:`mul_plain` (scaled by the prime that
        the following rescale drops, so the scale returns to nominal exactly);
        ``factor=False`` an operand of :meth:`add_plain` (nominal scale).
        """
        ...

    def add(self, a: Handle, b: Handle) -> Handle:
        """Slot-wise sum; same level and degree of scale. Sizes may differ."""
        ...

    def sub(self, a: Handle, b: Handle) -> Handle:
        """Slot-wise ``a - b``; same level and degree of scale. Sizes may differ."""
        ...

    def add_plain(self, a: Handle, p: Plaintext) -> Handle:
        """Slot-wise sum with a plaintext; degree of scale 1."""
        ...

    def mul_plain(self, a: Handle, p: Plaintext) -> Handle:
        """Slot-wise product with a plaintext; degree of scale becomes 2."""
        ...

    def dot_plain(self, handles: Sequence[Handle], plains: Sequence[Plaintext]) -> Handle:
        """Sum of the products of :meth:`mul_plain`, one handle with one plaintext each.

        All are of one level. The same as products and sums one by one, and counted so; an
        engine may be faster at it, since only the sum has to fit the modulus. One that has
        nothing better calls :func:`thex_hf.backends.base.dot_by_products`.
        """
        ...

    def mul(self, a: Handle, b: Handle) -> Handle:
        """Slot-wise product of ciphertexts of size 2; result has size 3 and degree 2."""
        ...

    def rescale(self, a: Handle) -> Handle:
        """Drop one prime: level - 1, degree of scale 2 becomes 1. Any size."""
        ...

    def relinearise(self, a: Handle) -> Handle:
        """Size 3 becomes 2 (one key switch)."""
        ...

    def rotate(self, a: Handle, step: int) -> Handle:
        """``result[i] = a[(i + step) % slots]`` (one key switch); size 2 only."""
        ...

    def conjugate(self, a: Handle) -> Handle:
        """Complex conjugate of every slot (one key switch); size 2 only, any degree.

        Raises:
            PlanError: also when the keys were made without ``conjugation``.
        """
        ...

    def times_i(self, a: Handle) -> Handle:
        """Every slot times the imaginary unit, exactly: no level, no noise.

        Any size and degree of scale, which stay as they are.
        """
        ...

    def rerandomise(self, a: Handle) -> Handle:
        """``a`` plus a fresh public-key encryption of zero; size 2 and degree 1.

        What comes out is no longer a function of the client's own ciphertexts and the
        weights, so a reply tells the client no more than its slots (and their errors).

        Raises:
            PlanError: also when the keys were made without ``public``.
        """
        ...

    def blind(self, handles: Sequence[Handle]) -> tuple[list[Handle], Blinding]:
        """The handles blinded, so that nothing is left for the client to read, and the blinding.

        To each, of size 2, degree 1 and one level, a fresh polynomial is added whose
        coefficients are uniform modulo the whole modulus of that level, and an encryption of
        zero as by :meth:`rerandomise`. What the client decrypts is uniform whatever the
        handle holds. It may answer by :meth:`ClientEngine.renew`.

        Raises:
            PlanError: also when the keys were made without ``public``.
        """
        ...

    def unblind(self, handles: Sequence[Handle], blinding: Blinding, move: Move) -> list[Handle]:
        """The blinding of :meth:`blind` taken off what :meth:`ClientEngine.renew` made.

        ``handles`` are what ``move`` made of all of them: one for each of its targets, of one
        level, which may be any. The rounding adds up to one unit of a coefficient. It goes
        wrong, by everything, where a coefficient of a message plus its mask exceeds half the
        modulus; for a message with slots of up to ``x`` a ciphertext does with a probability
        of at most ``sqrt(N) * x * scale / modulus``.
        """
        ...

    def combine(
        self, handles: Sequence[Handle], weights: AnyVector, bias: AnyVector
    ) -> list[Handle]:
        """Sums of whole handles, each times one number: ``bias[o] + sum_i weights[o, i] a_i``.

        ``weights`` has shape ``(outputs, inputs)``, ``bias`` ``(outputs,)``; both may be
        complex. The handles are of one level (1 or more), size 2 and degree 1. The results
        are rescaled: one level lower, degree 1. An engine that has nothing better calls
        :func:`thex_hf.backends.base.combine_by_products`.
        """
        ...

    def mod_switch(self, a: Handle, level: int) -> Handle:
        """Drop to a lower ``level`` without changing value or scale."""
        ...

    def load(self, data: bytes) -> Handle:
        """Read a ciphertext that came from the client (fresh, size 2, degree 1).

        Raises:
            WireError: bytes that are not a valid ciphertext of these parameters.
        """
        ...

    def dump(self, a: Handle) -> bytes:
        """Serialise a handle (size 2, degree 1) for the client."""
        ...

    def export(self, a: Handle) -> bytes:
        """A handle of any level, degree and size for :meth:`adopt` in a forked process.

        As fast as the library allows. Never for the client, and never stored.
        """
        ...

    def adopt(self, data: bytes) -> Handle:
        """The handle that :meth:`export` of a forked copy of this engine wrote.

        The bytes are trusted: what comes from the other side goes through :meth:`load`.
        """
        ...


class ClientEngine(Protocol):
    """What a client does: the only side that holds the secret key."""

    @property
    def slots(self) -> int:
        """Slots in a ciphertext."""
        ...

    def encrypt(self, vector: AnyVector, level: int) -> bytes:
        """Encrypt ``(slots,)`` float64 or complex128 at ``level``; seed-compressed if possible.

        How long it takes must not tell the values: a server can measure it.
        """
        ...

    def decrypt(self, data: bytes, level: int | None = None) -> Vector:
        """Decrypt a ciphertext from the server to the real parts of its slots, ``(slots,)``.

        ``level`` is the one that it must be at; None: at any.

        Raises:
            WireError: bytes that are not a valid ciphertext of these parameters and that level;
                nothing was decrypted.
        """
        ...

    def decrypt_complex(self, data: bytes, level: int | None = None) -> ComplexVector:
        """As :meth:`decrypt`, with the imaginary parts: ``(slots,)`` complex128.

        Every client can read these, asked for or not: a server that means to show real
        parts only must hide the imaginary ones itself, by a mask or a conjugation.

        Raises:
            WireError: as :meth:`decrypt`.
        """
        ...

    def renew(
        self,
        data: Sequence[bytes],
        moves: Sequence[tuple[Move, int]],
        level: int | None = None,
    ) -> list[list[bytes]]:
        """Decrypt what :meth:`ServerEngine.blind` blinded, move it, encrypt it afresh.

        Exact to a unit of a coefficient, for numbers as large as the modulus.

        Args:
            data: all ciphertexts that were blinded together.
            moves: for each wanted packing the move and the level to encrypt at, which is no
                lower than theirs: what is blinded is as large as their modulus.
            level: at which the ciphertexts must be; None: any.

        Returns:
            For each move its targets.

        Raises:
            WireError: bytes that are not valid ciphertexts of these parameters and level, told
                before anything is decrypted.
            PlanError: a move of other sources or slots, or a level that there is not.
        """
        ...
