"""The clear engine's server: SEAL's rules, arithmetic bias and errors, on numpy.

Nothing here is encrypted. It exists so that a circuit can be run fast, with the
packing, the levels, the missing keys and the precision of the real thing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from thex_hf.backends.clear_machine import ClearHandle, ClearPlain, Modulus
from thex_hf.backends.clear_wire import UnprotectedFormat
from thex_hf.backends.noise import NoiseModel
from thex_hf.errors import PlanError
from thex_hf.layout import rules
from thex_hf.layout.engines import Vector
from thex_hf.layout.parameters import Parameters


class ClearServer:
    """See :class:`thex_hf.layout.engines.ServerEngine` for the verbs.

    Args:
        parameters: the CKKS parameters whose machine is imitated.
        rotations: the steps it may rotate by.
        relinearisation: whether it may relinearise.
        tag: the key tag that loaded messages must carry.
        noise: the error model, or None for exact arithmetic (the bias stays).
    """

    def __init__(
        self,
        parameters: Parameters,
        rotations: tuple[int, ...],
        *,
        relinearisation: bool,
        tag: bytes,
        noise: NoiseModel | None,
    ) -> None:
        self._parameters = parameters
        self._steps = frozenset(rules.reduced_steps(rotations, parameters.slots))
        self._relinearisation = relinearisation
        self._format = UnprotectedFormat(parameters, tag)
        self._modulus = Modulus(parameters)
        self._noise = noise

    @property
    def slots(self) -> int:
        """Real slots in a "ciphertext"."""
        return self._parameters.slots

    def level(self, a: ClearHandle) -> int:
        """Rescalings that ``a`` still allows."""
        return a.level

    def encode(self, vector: Vector, level: int, *, factor: bool) -> ClearPlain:
        """Encode; a factor that rounds to zero becomes 1/prime, as in the SEAL engine."""
        values = rules.checked_vector(vector, self.slots, "encode")
        rules.check_level(level, self._parameters, "encode")
        if factor:
            rules.check_product_level(level, "encode(factor=True)")
        scale = float(self._modulus.primes[level]) if factor else self._parameters.scale
        if factor and np.abs(values).max() * scale < 0.5:
            return ClearPlain(np.full(self.slots, 1.0 / scale), level, factor)
        if not factor:
            self._modulus.check(values, level, 1, "encode")
        if self._noise is not None:
            values = values + self._noise.draw(self._noise.encode(scale))
        return ClearPlain(values, level, factor)

    def add(self, a: ClearHandle, b: ClearHandle) -> ClearHandle:
        """Slot-wise sum."""
        rules.check_add(a, b)
        return self._made(a.values + b.values, a.level, a.degree, max(a.size, b.size), "add")

    def add_plain(self, a: ClearHandle, p: ClearPlain) -> ClearHandle:
        """Slot-wise sum with a plaintext."""
        rules.check_plain(a, p, factor=False)
        return self._made(a.values + p.values, a.level, 1, a.size, "add_plain")

    def mul_plain(self, a: ClearHandle, p: ClearPlain) -> ClearHandle:
        """Slot-wise product with a plaintext."""
        rules.check_plain(a, p, factor=True)
        return self._made(a.values * p.values, a.level, 2, a.size, "mul_plain")

    def mul(self, a: ClearHandle, b: ClearHandle) -> ClearHandle:
        """Slot-wise product; off by scale/prime, because the scale is reset to nominal."""
        rules.check_mul(a, b, self._parameters.scale_bits, self._modulus.bits[a.level])
        bias = self._parameters.scale / self._modulus.primes[a.level]
        return self._made(a.values * b.values * bias, a.level, 2, 3, "mul")

    def rescale(self, a: ClearHandle) -> ClearHandle:
        """Drop one prime."""
        rules.check_degree(a, 2, "rescale")
        values = a.values
        if self._noise is not None:
            error = self._noise.rescale(a.size, self._parameters.scale)
            values = values + self._noise.draw(error)
        return self._made(values, a.level - 1, 1, a.size, "rescale")

    def relinearise(self, a: ClearHandle) -> ClearHandle:
        """Size 3 becomes 2."""
        rules.check_size(a, 3, "relinearise")
        if not self._relinearisation:
            raise PlanError("no relinearisation key; ask for it when the keys are made")
        return self._switched(a, a.values)

    def rotate(self, a: ClearHandle, step: int) -> ClearHandle:
        """``result[i] = a[(i + step) % slots]``; a step of 0 costs nothing."""
        step %= self.slots
        if step == 0:
            rules.check_size(a, 2, "rotate")
            return a
        rules.check_rotation(a, step, self._steps)
        return self._switched(a, np.roll(a.values, -step))

    def mod_switch(self, a: ClearHandle, level: int) -> ClearHandle:
        """Drop to a lower level."""
        rules.check_mod_switch(a, level)
        return self._made(a.values, level, 1, a.size, "mod_switch")

    def load(self, data: bytes) -> ClearHandle:
        """Read an unprotected message. Raises WireError when it is not one of these keys."""
        values, level = self._format.unpack_vector(data)
        return ClearHandle(values, level)

    def dump(self, a: ClearHandle) -> bytes:
        """Write an unprotected message."""
        rules.check_dump(a)
        return self._format.pack_vector(a.values, a.level)

    def _made(self, values: Vector, level: int, degree: int, size: int, verb: str) -> ClearHandle:
        self._modulus.check(values, level, degree, verb)
        return ClearHandle(values, level, degree, size)

    def _switched(self, a: ClearHandle, values: Vector) -> ClearHandle:
        if self._noise is not None:
            scale = self._modulus.scale(a.level, a.degree)
            values = values + self._noise.draw(self._noise.key_switch(a.level, scale))
        return replace(a, values=values, size=2)
