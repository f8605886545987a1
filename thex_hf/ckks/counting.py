"""An engine that computes nothing and counts everything: the planner's eyes.

A handle is its level, degree of scale and size. Running the circuit on this engine
gives levels, operation counts and the exact keys that are needed; because it is the
same circuit, the record cannot drift from what a real engine does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, Move
from thex_hf.ckks.rules import pack_state, unpack_state
from thex_hf.errors import PlanError


@dataclass(frozen=True)
class SymbolicCiphertext:
    """What is known of a ciphertext without its contents."""

    level: int
    degree: int = 1
    size: int = 2


@dataclass(frozen=True)
class SymbolicPlaintext:
    """What is known of an encoded plaintext without its contents."""

    level: int
    factor: bool


class Section(NamedTuple):
    """A stretch of a circuit: how many round trips came before it, its layer, and its stage."""

    round: int
    layer: str
    stage: str


class CountingEngine:
    """Counts the verbs by level; see :class:`thex_hf.ckks.engine.ServerEngine`.

    Attributes:
        sections: how often each (verb, level) was used, apart for each stretch of the circuit,
            in order of first use.
        rotation_levels: for each rotation step, the highest level it was used at.
        conjugation_level: the highest level of ``conjugate``; None when it was not used.
        relinearisation_level: the same for ``relinearise``.
        plaintext_limbs: residue polynomials of all encoded plaintexts together.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.sections: dict[Section, Counter[tuple[str, int]]] = {}
        self._section = Section(0, "", "circuit")
        self.rotation_levels: dict[int, int] = {}
        self.conjugation_level: int | None = None
        self.relinearisation_level: int | None = None
        self.plaintext_limbs = 0

    @property
    def slots(self) -> int:
        """Slots in a ciphertext."""
        return self._slots

    @property
    def operations(self) -> Counter[tuple[str, int]]:
        """How often each (verb, level) was used."""
        return sum(self.sections.values(), Counter())

    @property
    def rotations(self) -> set[int]:
        """The distinct rotation steps, each within ``1..slots-1``."""
        return set(self.rotation_levels)

    @property
    def conjugates(self) -> bool:
        """Whether the circuit needs a conjugation key."""
        return self.conjugation_level is not None

    @property
    def rerandomises(self) -> bool:
        """Whether the circuit needs a public key."""
        return any(verb in ("rerandomise", "blind") for verb, _ in self.operations)

    def level(self, a: SymbolicCiphertext) -> int:
        """Level of the handle."""
        return a.level

    def begin_stage(self, stage: str, layer: int | str | None = None) -> None:
        """What follows belongs to a stage, of the layer before if none is given."""
        round_, before, _ = self._section
        self._section = Section(round_, before if layer is None else str(layer), stage)

    def next_round(self) -> None:
        """What follows comes after one more round trip to the client."""
        self._section = self._section._replace(round=self._section.round + 1)

    def _count(self, verb: str, level: int, times: int = 1) -> None:
        self.sections.setdefault(self._section, Counter())[verb, level] += times

    def scale_ratio(self, level: int) -> float:
        """No primes, no drift of the scale."""
        rules.check_product_level(level, "scale_ratio")
        return 1.0

    def encode(self, vector: AnyVector, level: int, *, factor: bool) -> SymbolicPlaintext:
        """Count an encoding."""
        rules.checked_vector(vector, self._slots, "encode")
        self.plaintext_limbs += level + 1
        self._count("encode", level)
        return SymbolicPlaintext(level, factor)

    def add(self, a: SymbolicCiphertext, b: SymbolicCiphertext) -> SymbolicCiphertext:
        """Count a sum."""
        rules.check_add(a, b)
        self._count("add", a.level)
        return replace(a, size=max(a.size, b.size))

    def sub(self, a: SymbolicCiphertext, b: SymbolicCiphertext) -> SymbolicCiphertext:
        """Count a difference."""
        rules.check_add(a, b, "sub")
        self._count("sub", a.level)
        return replace(a, size=max(a.size, b.size))

    def add_plain(self, a: SymbolicCiphertext, p: SymbolicPlaintext) -> SymbolicCiphertext:
        """Count a sum with a plaintext."""
        rules.check_plain(a, p, factor=False)
        self._count("add_plain", a.level)
        return a

    def mul_plain(self, a: SymbolicCiphertext, p: SymbolicPlaintext) -> SymbolicCiphertext:
        """Count a product with a plaintext."""
        rules.check_plain(a, p, factor=True)
        self._count("mul_plain", a.level)
        return replace(a, degree=2)

    def dot_plain(
        self, handles: Sequence[SymbolicCiphertext], plains: Sequence[SymbolicPlaintext]
    ) -> SymbolicCiphertext:
        """Count the products and sums that it stands for."""
        size, level = rules.check_dot(handles, plains), handles[0].level
        self._count("mul_plain", level, len(handles))
        if len(handles) > 1:
            self._count("add", level, len(handles) - 1)
        return SymbolicCiphertext(level, degree=2, size=size)

    def mul(self, a: SymbolicCiphertext, b: SymbolicCiphertext) -> SymbolicCiphertext:
        """Count a product of ciphertexts."""
        rules.check_operands(a, b)
        self._count("mul", a.level)
        return SymbolicCiphertext(a.level, degree=2, size=3)

    def rescale(self, a: SymbolicCiphertext) -> SymbolicCiphertext:
        """Count a rescale."""
        rules.check_degree(a, 2, "rescale")
        rules.check_product_level(a.level, "rescale")
        self._count("rescale", a.level)
        return SymbolicCiphertext(a.level - 1, size=a.size)

    def relinearise(self, a: SymbolicCiphertext) -> SymbolicCiphertext:
        """Count a relinearisation."""
        rules.check_relinearisation(a, a.level)
        self._count("relinearise", a.level)
        self.relinearisation_level = _highest(self.relinearisation_level, a.level)
        return replace(a, size=2)

    def rotate(self, a: SymbolicCiphertext, step: int) -> SymbolicCiphertext:
        """Count a rotation and remember its step."""
        rules.check_size(a, 2, "rotate")
        step %= self._slots
        if step == 0:
            return a
        self.rotation_levels[step] = _highest(self.rotation_levels.get(step), a.level)
        self._count("rotate", a.level)
        return a

    def conjugate(self, a: SymbolicCiphertext) -> SymbolicCiphertext:
        """Count a conjugation."""
        rules.check_conjugation(a, a.level)
        self.conjugation_level = _highest(self.conjugation_level, a.level)
        self._count("conjugate", a.level)
        return a

    def times_i(self, a: SymbolicCiphertext) -> SymbolicCiphertext:
        """Count a product with the imaginary unit."""
        self._count("times_i", a.level)
        return a

    def rerandomise(self, a: SymbolicCiphertext) -> SymbolicCiphertext:
        """Count an added encryption of zero."""
        rules.check_rerandomisation(a, held=True)
        self._count("rerandomise", a.level)
        return a

    def blind(self, handles: Sequence[SymbolicCiphertext]) -> tuple[list[SymbolicCiphertext], int]:
        """Count the handles; their number stands for the blinding."""
        level = rules.check_blinding(handles, held=True)
        self._count("blind", level, len(handles))
        return list(handles), len(handles)

    def unblind(
        self, handles: Sequence[SymbolicCiphertext], blinding: int, move: Move
    ) -> list[SymbolicCiphertext]:
        """Count the handles that come back."""
        level = rules.check_unblinding(handles, blinding, self._slots, move)
        self._count("unblind", level, len(handles))
        return list(handles)

    def combine(
        self, handles: Sequence[SymbolicCiphertext], weights: AnyVector, bias: AnyVector
    ) -> list[SymbolicCiphertext]:
        """Count the handles that go in and come out; products cost little beside them."""
        level = rules.check_combine(handles, weights, bias)
        self._count("combine", level, len(handles) + len(bias))
        return [SymbolicCiphertext(level - 1) for _ in bias]

    def mod_switch(self, a: SymbolicCiphertext, level: int) -> SymbolicCiphertext:
        """Count a switch to a lower level."""
        rules.check_mod_switch(a, level)
        if level < a.level:
            self._count("mod_switch", a.level)
        return replace(a, level=level)

    def load(self, data: bytes) -> SymbolicCiphertext:
        """Not a wire engine: always refuses."""
        raise PlanError("the counting engine reads no ciphertexts")

    def dump(self, a: SymbolicCiphertext) -> bytes:
        """Not a wire engine: always refuses."""
        raise PlanError("the counting engine writes no ciphertexts")

    def export(self, a: SymbolicCiphertext) -> bytes:
        """All that is known of the handle. Counts nothing."""
        return pack_state(a, b"")

    def adopt(self, data: bytes) -> SymbolicCiphertext:
        """The ciphertext that :meth:`export` wrote. Counts nothing."""
        level, degree, size, _ = unpack_state(data)
        return SymbolicCiphertext(level, degree, size)

    @property
    def key_switches(self) -> int:
        """Rotations, conjugations and relinearisations together."""
        kinds = ("rotate", "conjugate", "relinearise")
        return sum(n for (verb, _), n in self.operations.items() if verb in kinds)


def _highest(held: int | None, level: int) -> int:
    return level if held is None else max(held, level)
