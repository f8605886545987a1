"""The SEAL engine's server. It has evaluation keys only; nothing here can decrypt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thex_hf.backends.base import combine_by_products
from thex_hf.backends.numerics.integers import IntegerPolynomial
from thex_hf.backends.seal.codec import SealCodec, SealMoves
from thex_hf.backends.seal.context import SealContext, SealHandle, SealPlaintext
from thex_hf.backends.seal.keys import SwitchingKey
from thex_hf.backends.seal.residues import PlaintextFormat, ResidueCombiner
from thex_hf.backends.seal.serialisation import from_bytes, to_bytes
from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, Move
from thex_hf.ckks.rules import pack_state, unpack_state
from thex_hf.errors import PlanError


class SealServer:
    """See :class:`thex_hf.ckks.engine.ServerEngine` for the verbs.

    Every handle of degree 2 has scale ``nominal * prime`` of its level, so sums of plain
    and ciphertext products agree and every rescale ends at the nominal scale exactly.
    For ciphertext products this claims a scale that is off by ``nominal/prime``, a
    relative error of about 1e-6 at 38 bits and up to 4e-3 at 30 bits; see :meth:`scale_ratio`.

    Args:
        seal: the context.
        rotations: the steps it may rotate by, each with its key.
        conjugation: the key for conjugations, or None.
        relinearisation: the key for relinearisations, or None.
        public: SEAL's public key, or None.
    """

    def __init__(
        self,
        seal: SealContext,
        rotations: Mapping[int, SwitchingKey],
        *,
        conjugation: SwitchingKey | None,
        relinearisation: SwitchingKey | None,
        public: Any,
    ) -> None:
        self._seal = seal
        self._parameters = seal.parameters
        self._scale = seal.parameters.scale
        self._product_scales = tuple(self._scale * prime for prime in seal.primes)
        self._modulus_bits = tuple(map(seal.modulus_bits, range(len(seal.primes))))
        self._new = seal.api.Ciphertext
        self._evaluator = seal.evaluator
        self._codec = SealCodec(seal)
        self._rotations = dict(rotations)
        self._reach = {step: key.reach for step, key in rotations.items()}
        self._conjugation = conjugation
        self._relinearisation = relinearisation
        self._zeros = None if public is None else seal.api.Encryptor(seal.context, public)
        self._units: dict[int, Any] = {}
        self._residues = ResidueCombiner(seal)
        self._moves, self._plains = SealMoves(seal), PlaintextFormat(seal)

    @property
    def slots(self) -> int:
        """Slots in a ciphertext."""
        return self._parameters.slots

    def level(self, a: SealHandle) -> int:
        """Rescalings that ``a`` still allows."""
        return a.level

    def scale_ratio(self, level: int) -> float:
        """``nominal / prime`` of a level: what :meth:`mul` multiplies by."""
        rules.check_level(level, self._parameters, "scale_ratio")
        rules.check_product_level(level, "scale_ratio")
        return self._scale / self._seal.primes[level]

    def encode(self, vector: AnyVector, level: int, *, factor: bool) -> SealPlaintext:
        """Encode, a factor at the scale of the prime that the next rescale drops.

        A factor that rounds to zero becomes ``1/prime``: a product with zero would be a
        transparent ciphertext, which SEAL refuses; this one adds less than the noise.
        """
        if not factor:
            return SealPlaintext(
                self._codec.encode(vector, level, self._scale, "encode"), level, False
            )
        verb = "encode(factor=True)"
        rules.check_level(level, self._parameters, verb)
        rules.check_product_level(level, verb)
        prime = float(self._seal.primes[level])
        plaintext = self._codec.encode(vector, level, prime, verb)
        if plaintext.is_zero():
            plaintext = self._codec.encode(vector * 0.0 + 1.0 / prime, level, prime, verb)
        return SealPlaintext(plaintext, level, True)

    def add(self, a: SealHandle, b: SealHandle) -> SealHandle:
        """Slot-wise sum."""
        rules.check_add(a, b)
        out = self._run("add", self._evaluator.add, a.ciphertext, b.ciphertext)
        return SealHandle(out, a.level, a.degree, max(a.size, b.size))

    def sub(self, a: SealHandle, b: SealHandle) -> SealHandle:
        """Slot-wise difference."""
        rules.check_add(a, b, "sub")
        out = self._run("sub", self._evaluator.sub, a.ciphertext, b.ciphertext)
        return SealHandle(out, a.level, a.degree, max(a.size, b.size))

    def add_plain(self, a: SealHandle, p: SealPlaintext) -> SealHandle:
        """Slot-wise sum with a plaintext."""
        rules.check_plain(a, p, factor=False)
        out = self._run("add_plain", self._evaluator.add_plain, a.ciphertext, p.plaintext)
        return SealHandle(out, a.level, 1, a.size)

    def mul_plain(self, a: SealHandle, p: SealPlaintext) -> SealHandle:
        """Slot-wise product with a plaintext."""
        rules.check_plain(a, p, factor=True)
        out = self._run("mul_plain", self._evaluator.multiply_plain, a.ciphertext, p.plaintext)
        return SealHandle(out, a.level, 2, a.size)

    def dot_plain(
        self, handles: Sequence[SealHandle], plains: Sequence[SealPlaintext]
    ) -> SealHandle:
        """Sum of products, added up in place."""
        size = rules.check_dot(handles, plains)
        total = self._run("dot_plain", self._dot, handles, plains)
        return SealHandle(total, handles[0].level, 2, size)

    def mul(self, a: SealHandle, b: SealHandle) -> SealHandle:
        """Slot-wise product of size 3."""
        rules.check_mul(a, b, self._parameters.scale_bits, self._modulus_bits[a.level])
        if a.ciphertext is b.ciphertext:
            out = self._run("mul", self._evaluator.square, a.ciphertext)
        else:
            out = self._run("mul", self._evaluator.multiply, a.ciphertext, b.ciphertext)
        out.scale = self._product_scales[a.level]
        return SealHandle(out, a.level, 2, 3)

    def rescale(self, a: SealHandle) -> SealHandle:
        """Drop one prime; the scale becomes the nominal one exactly."""
        rules.check_degree(a, 2, "rescale")
        out = self._run("rescale", self._evaluator.rescale_to_next, a.ciphertext)
        out.scale = self._scale
        return SealHandle(out, a.level - 1, 1, a.size)

    def relinearise(self, a: SealHandle) -> SealHandle:
        """Size 3 becomes 2."""
        key = self._relinearisation
        rules.check_relinearisation(a, None if key is None else key.reach)
        assert key is not None
        return SealHandle(self._run("relinearise", key.switch, a), a.level, a.degree)

    def rotate(self, a: SealHandle, step: int) -> SealHandle:
        """``result[i] = a[(i + step) % slots]``; a step of 0 costs nothing."""
        step %= self.slots
        if step == 0:
            rules.check_size(a, 2, "rotate")
            return a
        rules.check_rotation(a, step, self._reach)
        return SealHandle(self._run("rotate", self._rotations[step].switch, a), a.level, a.degree)

    def conjugate(self, a: SealHandle) -> SealHandle:
        """Complex conjugate of every slot."""
        key = self._conjugation
        rules.check_conjugation(a, None if key is None else key.reach)
        assert key is not None
        return SealHandle(self._run("conjugate", key.switch, a), a.level, a.degree)

    def times_i(self, a: SealHandle) -> SealHandle:
        """Every slot times the imaginary unit: a product with the monomial ``x**(N/2)``."""
        unit = self._units.get(a.level)
        if unit is None:
            everywhere = np.full(self.slots, 1j)
            unit = self._units[a.level] = self._codec.encode(everywhere, a.level, 1.0, "times_i")
        out = self._run("times_i", self._evaluator.multiply_plain, a.ciphertext, unit)
        return SealHandle(out, a.level, a.degree, a.size)

    def rerandomise(self, a: SealHandle) -> SealHandle:
        """Add a fresh public-key encryption of zero."""
        rules.check_rerandomisation(a, held=self._zeros is not None)
        assert self._zeros is not None
        zero = self._run("rerandomise", self._zeros.encrypt_zero, self._seal.ids[a.level])
        zero.scale = self._scale
        out = self._run("rerandomise", self._evaluator.add, a.ciphertext, zero)
        return SealHandle(out, a.level)

    def blind(
        self, handles: Sequence[SealHandle]
    ) -> tuple[list[SealHandle], list[IntegerPolynomial]]:
        """Add uniform polynomials and fresh encryptions of zero."""
        level = rules.check_blinding(handles, held=self._zeros is not None)
        hidden, masks = [], []
        for a in handles:
            words = self._moves.random(level)
            plain = SealPlaintext(self._plains.write(words, level), level, False)
            hidden.append(self.rerandomise(self.add_plain(a, plain)))
            masks.append(self._moves.integers(words))
        return hidden, masks

    def unblind(
        self, handles: Sequence[SealHandle], blinding: list[IntegerPolynomial], move: Move
    ) -> list[SealHandle]:
        """Subtract what ``move`` makes of the uniform polynomials."""
        level = rules.check_unblinding(handles, len(blinding), self.slots, move)
        out = []
        for a, words in zip(handles, self._moves.move(blinding, move, level), strict=True):
            plain = self._plains.write(words, level)
            taken = self._run("unblind", self._evaluator.sub_plain, a.ciphertext, plain)
            out.append(SealHandle(taken, level, 1, a.size))
        return out

    def combine(
        self, handles: Sequence[SealHandle], weights: AnyVector, bias: AnyVector
    ) -> list[SealHandle]:
        """Sums of handles times numbers, rescaled: a matrix product of residues in numpy.

        Without SEAL's raw residues (see :mod:`.residues`), or where numpy's products are not
        exact, it is made of the other verbs.
        """
        level = rules.check_combine(handles, weights, bias)
        if not self._residues.usable:
            return combine_by_products(self, handles, weights, bias)
        sums = self._residues.combine([a.ciphertext for a in handles], level, weights, bias)
        out = []
        for ciphertext in sums:
            ciphertext.scale = self._product_scales[level]
            out.append(self.rescale(SealHandle(ciphertext, level, 2)))
        return out

    def mod_switch(self, a: SealHandle, level: int) -> SealHandle:
        """Drop to a lower level."""
        rules.check_mod_switch(a, level)
        if level == a.level:
            return a
        target = self._seal.ids[level]
        out = self._run("mod_switch", self._evaluator.mod_switch_to, a.ciphertext, target)
        return SealHandle(out, level, 1, a.size)

    def load(self, data: bytes) -> SealHandle:
        """Read a client's ciphertext. Raises WireError when it is not a valid one."""
        return self._codec.load(data)

    def dump(self, a: SealHandle) -> bytes:
        """Serialise for the client."""
        rules.check_dump(a)
        return to_bytes(a.ciphertext.save)

    def export(self, a: SealHandle) -> bytes:
        """SEAL's frame after the state. The binding always compresses (half a rotation)."""
        return pack_state(a, to_bytes(a.ciphertext.save))

    def adopt(self, data: bytes) -> SealHandle:
        """The handle that :meth:`export` wrote."""
        level, degree, size, frame = unpack_state(data)
        ciphertext = self._new()
        limit = size * self._seal.ciphertext_limit()
        from_bytes(
            lambda path: ciphertext.load(self._seal.context, path),
            frame,
            what="ciphertext",
            limit=limit,
        )
        return SealHandle(ciphertext, level, degree, size)

    def _dot(
        self, handles: Sequence[SealHandle], plains: Sequence[SealPlaintext], total: Any
    ) -> None:
        multiply, add = self._evaluator.multiply_plain, self._evaluator.add_inplace
        multiply(handles[0].ciphertext, plains[0].plaintext, total)
        for a, p in zip(handles[1:], plains[1:], strict=True):
            product = self._new()
            multiply(a.ciphertext, p.plaintext, product)
            add(total, product)

    def _run(self, verb: str, operation: Callable[..., None], *operands: Any) -> Any:
        """Call ``operation(*operands, out)`` and return ``out``."""
        out = self._new()
        try:
            operation(*operands, out)
        except (ValueError, RuntimeError, IndexError) as error:
            raise PlanError(f"SEAL refuses {verb}: {error}") from error
        return out
