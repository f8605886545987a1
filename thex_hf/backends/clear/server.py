"""The clear engine's server: SEAL's rules, scale drift and errors, on numpy.

Nothing here is encrypted. It exists so that a circuit can be run fast, with the
packing, the levels, the missing keys and the precision of the real thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thex_hf.backends.clear.handles import ClearHandle, ClearPlaintext, Modulus, UnprotectedFormat
from thex_hf.backends.numerics.embedding import exact_sum
from thex_hf.backends.numerics.noise import NoiseModel
from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, Move
from thex_hf.ckks.parameters import Parameters
from thex_hf.ckks.rules import pack_state, unpack_state


class ClearServer:
    """See :class:`thex_hf.ckks.engine.ServerEngine` for the verbs.

    Args:
        parameters: the CKKS parameters whose machine is imitated.
        rotations: the steps it may rotate by, and up to which level.
        relinearisation: up to which level it may relinearise; None for not at all.
        conjugation: the same for conjugations.
        public: whether it may rerandomise.
        tag: the key tag that loaded messages must carry.
        noise: the error model, or None for exact arithmetic (the scale drift stays).
    """

    def __init__(
        self,
        parameters: Parameters,
        rotations: Mapping[int, int],
        *,
        relinearisation: int | None,
        conjugation: int | None,
        public: bool,
        tag: bytes,
        noise: NoiseModel | None,
    ) -> None:
        self._parameters = parameters
        self._steps = dict(rotations)
        self._relinearisation = relinearisation
        self._conjugation = conjugation
        self._public = public
        self._format = UnprotectedFormat(parameters, tag)
        self._modulus = Modulus(parameters)
        self._noise = noise

    @property
    def slots(self) -> int:
        """Slots in a "ciphertext"."""
        return self._parameters.slots

    def level(self, a: ClearHandle) -> int:
        """Rescalings that ``a`` still allows."""
        return a.level

    def scale_ratio(self, level: int) -> float:
        """``nominal / prime`` of a level: what :meth:`mul` multiplies by, as the SEAL engine."""
        rules.check_level(level, self._parameters, "scale_ratio")
        rules.check_product_level(level, "scale_ratio")
        return self._modulus.scale_ratio(level)

    def encode(self, vector: AnyVector, level: int, *, factor: bool) -> ClearPlaintext:
        """Encode; a factor that rounds to zero becomes 1/prime, as in the SEAL engine."""
        values = rules.checked_vector(vector, self.slots, "encode")
        rules.check_level(level, self._parameters, "encode")
        if factor:
            rules.check_product_level(level, "encode(factor=True)")
        scale = float(self._modulus.primes[level]) if factor else self._parameters.scale
        if factor and np.abs(values).max() * scale < 0.5:
            return ClearPlaintext(np.full(self.slots, 1.0 / scale), level, factor)
        if not factor:
            self._modulus.check(values, level, 1, "encode")
        if self._noise is not None:
            values = self._noise.disturb(values, self._noise.encode(scale))
        return ClearPlaintext(values, level, factor)

    def add(self, a: ClearHandle, b: ClearHandle) -> ClearHandle:
        """Slot-wise sum."""
        rules.check_add(a, b)
        return self._made(a.values + b.values, a.level, a.degree, max(a.size, b.size), "add")

    def sub(self, a: ClearHandle, b: ClearHandle) -> ClearHandle:
        """Slot-wise difference."""
        rules.check_add(a, b, "sub")
        return self._made(a.values - b.values, a.level, a.degree, max(a.size, b.size), "sub")

    def add_plain(self, a: ClearHandle, p: ClearPlaintext) -> ClearHandle:
        """Slot-wise sum with a plaintext."""
        rules.check_plain(a, p, factor=False)
        return self._made(a.values + p.values, a.level, 1, a.size, "add_plain")

    def mul_plain(self, a: ClearHandle, p: ClearPlaintext) -> ClearHandle:
        """Slot-wise product with a plaintext."""
        rules.check_plain(a, p, factor=True)
        return self._made(a.values * p.values, a.level, 2, a.size, "mul_plain")

    def dot_plain(
        self, handles: Sequence[ClearHandle], plains: Sequence[ClearPlaintext]
    ) -> ClearHandle:
        """Sum of products; what wraps around on the way does not matter, as in a real machine."""
        size = rules.check_dot(handles, plains)
        total: AnyVector = handles[0].values * plains[0].values
        for a, p in zip(handles[1:], plains[1:], strict=True):
            product = a.values * p.values
            if product.dtype == total.dtype:
                total += product
            else:
                total = total + product
        return self._made(total, handles[0].level, 2, size, "dot_plain")

    def mul(self, a: ClearHandle, b: ClearHandle) -> ClearHandle:
        """Slot-wise product; off by scale/prime, because the scale is reset to nominal."""
        rules.check_mul(a, b, self._parameters.scale_bits, self._modulus.bits[a.level])
        ratio = self._modulus.scale_ratio(a.level)
        return self._made(a.values * b.values * ratio, a.level, 2, 3, "mul")

    def rescale(self, a: ClearHandle) -> ClearHandle:
        """Drop one prime."""
        rules.check_degree(a, 2, "rescale")
        values = a.values
        if self._noise is not None:
            error = self._noise.rescale(a.size, self._parameters.scale)
            values = self._noise.disturb(values, error)
        return self._made(values, a.level - 1, 1, a.size, "rescale")

    def relinearise(self, a: ClearHandle) -> ClearHandle:
        """Size 3 becomes 2."""
        rules.check_relinearisation(a, self._relinearisation)
        return self._switched(a, a.values)

    def rotate(self, a: ClearHandle, step: int) -> ClearHandle:
        """``result[i] = a[(i + step) % slots]``; a step of 0 costs nothing."""
        step %= self.slots
        if step == 0:
            rules.check_size(a, 2, "rotate")
            return a
        rules.check_rotation(a, step, self._steps)
        turned: AnyVector = np.empty_like(a.values)
        turned[: self.slots - step], turned[self.slots - step :] = a.values[step:], a.values[:step]
        return self._switched(a, turned)

    def conjugate(self, a: ClearHandle) -> ClearHandle:
        """Complex conjugate of every slot."""
        rules.check_conjugation(a, self._conjugation)
        return self._switched(a, a.values.conj())

    def times_i(self, a: ClearHandle) -> ClearHandle:
        """Every slot times the imaginary unit, exactly."""
        turned = np.multiply(a.values, 1j, dtype=np.complex128)
        return ClearHandle(turned, a.level, a.degree, a.size)

    def rerandomise(self, a: ClearHandle) -> ClearHandle:
        """Add the error of a public-key encryption of zero."""
        rules.check_rerandomisation(a, held=self._public)
        if self._noise is None:
            return a
        error = self._noise.public(a.level, self._parameters.scale)
        return ClearHandle(self._noise.disturb(a.values, error), a.level)

    def blind(self, handles: Sequence[ClearHandle]) -> tuple[list[ClearHandle], list[AnyVector]]:
        """Add slots of uniform polynomials, and the errors of encryptions of zero."""
        level = rules.check_blinding(handles, held=self._public)
        masks: list[AnyVector] = [self._modulus.masking(level) for _ in handles]
        fresh = [self.rerandomise(a).values for a in handles]
        sums = [exact_sum(a, mask) for a, mask in zip(fresh, masks, strict=True)]
        return [ClearHandle(high, level, low=low) for high, low in sums], masks

    def unblind(
        self, handles: Sequence[ClearHandle], blinding: list[AnyVector], move: Move
    ) -> list[ClearHandle]:
        """Subtract what ``move`` makes of those slots."""
        level = rules.check_unblinding(handles, len(blinding), self.slots, move)
        out = []
        for a, mask in zip(handles, move.apply(blinding), strict=True):
            values: AnyVector = a.values - mask
            if a.low is not None:
                values = values + a.low
            if move.real:
                values = np.ascontiguousarray(values.real)
            out.append(self._made(values, level, 1, a.size, "unblind"))
        return out

    def combine(
        self, handles: Sequence[ClearHandle], weights: AnyVector, bias: AnyVector
    ) -> list[ClearHandle]:
        """Sums of handles times numbers, rescaled."""
        level = rules.check_combine(handles, weights, bias)
        prime = self._modulus.primes[level]
        rounded = np.round(weights * prime) / prime
        sums = rounded @ np.stack([a.values for a in handles]) + bias[:, None]
        return [self.rescale(self._made(row, level, 2, 2, "combine")) for row in sums]

    def mod_switch(self, a: ClearHandle, level: int) -> ClearHandle:
        """Drop to a lower level."""
        rules.check_mod_switch(a, level)
        return self._made(a.values, level, 1, a.size, "mod_switch")

    def load(self, data: bytes) -> ClearHandle:
        """Read an unprotected message. Raises WireError when it is not one of these keys."""
        values, level, low = self._format.unpack_vector(data)
        return ClearHandle(values, level, low=low)

    def dump(self, a: ClearHandle) -> bytes:
        """Write an unprotected message."""
        rules.check_dump(a)
        return self._format.pack_vector(a.values, a.level, a.low)

    def export(self, a: ClearHandle) -> bytes:
        """The numbers after their state."""
        values = np.ascontiguousarray(a.values)
        return pack_state(a, values.dtype.str.encode() + values.tobytes())

    def adopt(self, data: bytes) -> ClearHandle:
        """The handle that :meth:`export` wrote."""
        level, degree, size, contents = unpack_state(data)
        values: AnyVector = np.frombuffer(contents[3:], contents[:3].decode())
        return ClearHandle(values, level, degree, size)

    def _made(
        self, values: AnyVector, level: int, degree: int, size: int, verb: str
    ) -> ClearHandle:
        self._modulus.check(values, level, degree, verb)
        return ClearHandle(values, level, degree, size)

    def _switched(self, a: ClearHandle, values: AnyVector) -> ClearHandle:
        if self._noise is not None:
            scale = self._modulus.scale(a.level, a.degree)
            values = self._noise.disturb(values, self._noise.key_switch(a.level, scale))
        return ClearHandle(values, a.level, a.degree)
