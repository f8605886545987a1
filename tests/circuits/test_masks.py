import numpy as np
import pytest

from thex_hf.circuits.masks import HIDING_BITS, check_room, draw, uniform
from thex_hf.ckks.packing.layout import Geometry, Layout
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError

LAYOUT = Layout(Geometry(4096, 32), "solo", 32, 128)


def test_both_parts_have_their_sizes_and_sum_to_the_matrix():
    mask = draw(LAYOUT, value_bits=4)
    coarse, fine = np.concatenate(mask.coarse), np.concatenate(mask.fine)
    for part, bits in ((coarse, 34), (fine, 12)):
        assert np.abs(part).max() <= 2.0**bits
        assert np.abs(part).max() > 0.99 * 2.0**bits
        assert abs(part.mean()) < 0.05 * 2.0**bits
        assert part.std() == pytest.approx(2.0**bits / np.sqrt(3), rel=0.05)
    grid = 2.0 ** (34 - 52)
    np.testing.assert_array_equal(coarse / grid, np.round(coarse / grid))
    assert (fine / grid != np.round(fine / grid)).mean() > 0.9
    both = [a + b for a, b in zip(mask.coarse, mask.fine, strict=True)]
    np.testing.assert_array_equal(mask.matrix, LAYOUT.unpack(both))


def test_masked_values_do_not_depend_on_the_value():
    """Two values far apart give masked samples that a two-sample test cannot tell apart."""
    scipy = pytest.importorskip("scipy.stats")
    bound = 2.0 ** (4 + HIDING_BITS)
    low, high = uniform(200_000, bound) - 16.0, uniform(200_000, bound) + 16.0
    assert scipy.ks_2samp(low, high).pvalue > 1e-6


def test_randomness_is_fresh():
    one, two = draw(LAYOUT, 4), draw(LAYOUT, 4)
    assert (np.concatenate(one.coarse) != np.concatenate(two.coarse)).mean() > 0.999


def test_room():
    parameters = Parameters(8192, (50, 38, 38, 38), 54, 38)
    check_room(parameters, 1, 18, "here")
    with pytest.raises(PlanError, match="here: a masked value needs 89 bits"):
        check_room(parameters, 1, 19, "here")
