"""What the counting engine records of a circuit: operations, and the keys it needs."""

from __future__ import annotations

import numpy as np
import pytest

from thex_hf.ckks.counting import CountingEngine, SymbolicCiphertext
from thex_hf.errors import PlanError


def test_keys_and_their_highest_levels() -> None:
    engine = CountingEngine(8)
    assert not engine.rotations
    assert not engine.conjugates
    assert not engine.rerandomises
    assert engine.relinearisation_level is None
    for level in (3, 5, 2):
        engine.rotate(SymbolicCiphertext(level), -1)
        engine.conjugate(SymbolicCiphertext(level - 1))
        engine.relinearise(engine.mul(SymbolicCiphertext(level), SymbolicCiphertext(level)))
    engine.rotate(SymbolicCiphertext(1), 2)
    engine.rotate(SymbolicCiphertext(9), 8)  # by nothing: needs no key
    engine.rerandomise(SymbolicCiphertext(0))
    assert engine.rotations == {7, 2}
    assert engine.rotation_levels == {7: 5, 2: 1}
    assert engine.conjugation_level == 4
    assert engine.relinearisation_level == 5
    assert engine.conjugates
    assert engine.rerandomises
    assert engine.key_switches == 4 + 3 + 3


def test_level_zero_counts_as_a_use() -> None:
    engine = CountingEngine(8)
    engine.conjugate(SymbolicCiphertext(0))
    engine.rotate(SymbolicCiphertext(0), 1)
    assert engine.conjugates
    assert engine.conjugation_level == 0
    assert engine.rotation_levels == {1: 0}


def test_new_verbs_are_counted_and_checked() -> None:
    engine = CountingEngine(8)
    three = engine.sub(
        engine.mul(SymbolicCiphertext(2), SymbolicCiphertext(2)), SymbolicCiphertext(2, degree=2)
    )
    assert (three.size, three.degree) == (3, 2)
    assert engine.times_i(three) == three
    engine.encode(np.full(8, 1j), 2, factor=True)
    assert engine.operations["sub", 2] == engine.operations["times_i", 2] == 1
    assert engine.scale_ratio(2) == 1.0
    for refused in (
        lambda: engine.conjugate(three),
        lambda: engine.rerandomise(SymbolicCiphertext(2, degree=2)),
        lambda: engine.rerandomise(SymbolicCiphertext(2, size=3)),
        lambda: engine.sub(SymbolicCiphertext(2), SymbolicCiphertext(1)),
        lambda: engine.scale_ratio(0),
    ):
        with pytest.raises(PlanError):
            refused()
    assert not engine.conjugates
    assert not engine.rerandomises
