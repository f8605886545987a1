"""An engine that computes nothing and counts everything: the planner's eyes.

A handle is its level, degree of scale and size. Running the circuit on this engine
gives levels, operation counts and the exact set of rotation steps; because it is the
same circuit, the record cannot drift from what a real engine does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from thex_hf.errors import PlanError
from thex_hf.layout import rules
from thex_hf.layout.engines import Vector


@dataclass(frozen=True)
class Shadow:
    """What is known of a ciphertext without its contents."""

    level: int
    degree: int = 1
    size: int = 2


@dataclass(frozen=True)
class ShadowPlain:
    """What is known of an encoded plaintext without its contents."""

    level: int
    factor: bool


class CountingEngine:
    """Counts the verbs by level; see :class:`thex_hf.layout.engines.ServerEngine`."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.operations: Counter[tuple[str, int]] = Counter()
        self.rotations: set[int] = set()
        self.plaintext_limbs = 0

    @property
    def slots(self) -> int:
        """Real slots in a ciphertext."""
        return self._slots

    def level(self, a: Shadow) -> int:
        """Level of the handle."""
        return a.level

    def _count(self, verb: str, level: int) -> None:
        self.operations[verb, level] += 1

    def encode(self, vector: Vector, level: int, *, factor: bool) -> ShadowPlain:
        """Count an encoding."""
        rules.checked_vector(vector, self._slots, "encode")
        self.plaintext_limbs += level + 1
        self._count("encode", level)
        return ShadowPlain(level, factor)

    def add(self, a: Shadow, b: Shadow) -> Shadow:
        """Count a sum."""
        rules.check_add(a, b)
        self._count("add", a.level)
        return replace(a, size=max(a.size, b.size))

    def add_plain(self, a: Shadow, p: ShadowPlain) -> Shadow:
        """Count a sum with a plaintext."""
        rules.check_plain(a, p, factor=False)
        self._count("add_plain", a.level)
        return a

    def mul_plain(self, a: Shadow, p: ShadowPlain) -> Shadow:
        """Count a product with a plaintext."""
        rules.check_plain(a, p, factor=True)
        self._count("mul_plain", a.level)
        return replace(a, degree=2)

    def mul(self, a: Shadow, b: Shadow) -> Shadow:
        """Count a product of ciphertexts."""
        rules.check_operands(a, b)
        self._count("mul", a.level)
        return Shadow(a.level, degree=2, size=3)

    def rescale(self, a: Shadow) -> Shadow:
        """Count a rescale."""
        rules.check_degree(a, 2, "rescale")
        rules.check_product_level(a.level, "rescale")
        self._count("rescale", a.level)
        return Shadow(a.level - 1, size=a.size)

    def relinearise(self, a: Shadow) -> Shadow:
        """Count a relinearisation."""
        rules.check_size(a, 3, "relinearise")
        self._count("relinearise", a.level)
        return replace(a, size=2)

    def rotate(self, a: Shadow, step: int) -> Shadow:
        """Count a rotation and remember its step."""
        rules.check_size(a, 2, "rotate")
        step %= self._slots
        if step == 0:
            return a
        self.rotations.add(step)
        self._count("rotate", a.level)
        return a

    def mod_switch(self, a: Shadow, level: int) -> Shadow:
        """Count a switch to a lower level."""
        rules.check_mod_switch(a, level)
        if level < a.level:
            self._count("mod_switch", a.level)
        return replace(a, level=level)

    def load(self, data: bytes) -> Shadow:
        """Not a wire engine: always refuses."""
        raise PlanError("the counting engine reads no ciphertexts")

    def dump(self, a: Shadow) -> bytes:
        """Not a wire engine: always refuses."""
        raise PlanError("the counting engine writes no ciphertexts")

    @property
    def key_switches(self) -> int:
        """Rotations and relinearisations together."""
        kinds = ("rotate", "relinearise")
        return sum(n for (verb, _), n in self.operations.items() if verb in kinds)
