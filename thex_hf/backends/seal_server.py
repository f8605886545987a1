"""The SEAL engine's server. It has evaluation keys only; nothing here can decrypt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thex_hf.backends.ring import galois_element
from thex_hf.backends.seal_codec import SealCodec
from thex_hf.backends.seal_context import SealContext, SealHandle, SealPlain
from thex_hf.backends.seal_io import to_bytes
from thex_hf.errors import PlanError
from thex_hf.layout import rules
from thex_hf.layout.engines import Vector


class SealServer:
    """See :class:`thex_hf.layout.engines.ServerEngine` for the verbs.

    Every handle of degree 2 has scale ``nominal * prime`` of its level, so sums of plain
    and ciphertext products agree and every rescale ends at the nominal scale exactly.
    For ciphertext products this claims a scale that is off by ``nominal/prime``, a
    relative error of about 1e-6 at 38 bits.

    Args:
        seal: the context.
        rotations: the steps it may rotate by, all of them in ``galois``.
        galois: SEAL's rotation keys, or None.
        relinearisation: SEAL's relinearisation key, or None.
    """

    def __init__(
        self, seal: SealContext, rotations: tuple[int, ...], *, galois: Any, relinearisation: Any
    ) -> None:
        self._seal = seal
        self._parameters = seal.parameters
        self._scale = seal.parameters.scale
        self._product_scales = tuple(self._scale * prime for prime in seal.primes)
        self._modulus_bits = tuple(map(seal.modulus_bits, range(len(seal.primes))))
        self._new = seal.api.Ciphertext
        self._evaluator = seal.api.Evaluator(seal.context)
        self._codec = SealCodec(seal)
        self._galois = galois
        self._relinearisation = relinearisation
        degree = seal.parameters.ring_degree
        steps = rules.reduced_steps(rotations, seal.parameters.slots)
        self._elements = {step: galois_element(step, degree) for step in steps}

    @property
    def slots(self) -> int:
        """Real slots in a ciphertext."""
        return self._parameters.slots

    def level(self, a: SealHandle) -> int:
        """Rescalings that ``a`` still allows."""
        return a.level

    def encode(self, vector: Vector, level: int, *, factor: bool) -> SealPlain:
        """Encode, a factor at the scale of the prime that the next rescale drops.

        A factor that rounds to zero becomes ``1/prime``: a product with zero would be a
        transparent ciphertext, which SEAL refuses; this one adds less than the noise.
        """
        if not factor:
            return SealPlain(self._codec.encode(vector, level, self._scale, "encode"), level, False)
        verb = "encode(factor=True)"
        rules.check_level(level, self._parameters, verb)
        rules.check_product_level(level, verb)
        prime = float(self._seal.primes[level])
        plaintext = self._codec.encode(vector, level, prime, verb)
        if plaintext.is_zero():
            plaintext = self._codec.encode(vector * 0.0 + 1.0 / prime, level, prime, verb)
        return SealPlain(plaintext, level, True)

    def add(self, a: SealHandle, b: SealHandle) -> SealHandle:
        """Slot-wise sum."""
        rules.check_add(a, b)
        out = self._run("add", self._evaluator.add, a.ciphertext, b.ciphertext)
        return SealHandle(out, a.level, a.degree, max(a.size, b.size))

    def add_plain(self, a: SealHandle, p: SealPlain) -> SealHandle:
        """Slot-wise sum with a plaintext."""
        rules.check_plain(a, p, factor=False)
        out = self._run("add_plain", self._evaluator.add_plain, a.ciphertext, p.plaintext)
        return SealHandle(out, a.level, 1, a.size)

    def mul_plain(self, a: SealHandle, p: SealPlain) -> SealHandle:
        """Slot-wise product with a plaintext."""
        rules.check_plain(a, p, factor=True)
        out = self._run("mul_plain", self._evaluator.multiply_plain, a.ciphertext, p.plaintext)
        return SealHandle(out, a.level, 2, a.size)

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
        rules.check_size(a, 3, "relinearise")
        key = self._relinearisation
        if key is None:
            raise PlanError("no relinearisation key; ask for it when the keys are made")
        out = self._run("relinearise", self._evaluator.relinearize, a.ciphertext, key)
        return SealHandle(out, a.level, a.degree)

    def rotate(self, a: SealHandle, step: int) -> SealHandle:
        """``result[i] = a[(i + step) % slots]``; a step of 0 costs nothing."""
        step %= self.slots
        element = self._elements.get(step)
        if element is None and step:
            rules.check_rotation(a, step, frozenset(self._elements))
        rules.check_size(a, 2, "rotate")
        if step == 0:
            return a
        evaluator, keys = self._evaluator, self._galois
        out = self._run("rotate", evaluator.apply_galois, a.ciphertext, element, keys)
        return SealHandle(out, a.level, a.degree)

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

    def _run(self, verb: str, operation: Callable[..., None], *operands: Any) -> Any:
        """Call ``operation(*operands, out)`` and return ``out``."""
        out = self._new()
        try:
            operation(*operands, out)
        except (ValueError, RuntimeError, IndexError) as error:
            raise PlanError(f"SEAL refuses {verb}: {error}") from error
        return out
