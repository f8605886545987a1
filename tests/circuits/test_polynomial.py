import numpy as np
import pytest
from exact_engine import MASK_ROUNDING
from polynomial_runs import CASES, run_exactly
from reference import random_polynomial_weights

from thex_hf.circuits.planning import shape_of
from thex_hf.circuits.polynomial.refresh_schedule import SingleRefreshSchedule


@pytest.mark.parametrize("rests", [0, 1, 2, 99])
@pytest.mark.parametrize("case", CASES)
def test_circuit_equals_the_formulas(case, rests):
    sizes, slots, tokens, length = CASES[case]
    weights = random_polynomial_weights(**sizes)
    shape = shape_of(weights, tokens, 2 * slots)
    every = SingleRefreshSchedule.best(shape, weights.layers[0].polynomial.power, 1, 99)
    refreshes = every[min(rests, len(every) - 1)]
    answer, wanted, _, _ = run_exactly(weights, refreshes, length)
    found = shape.bar.unpack([v.real for v in answer])[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=MASK_ROUNDING)
