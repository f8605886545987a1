"""Whether numbers look uniform, without a library that tests need not have."""

import numpy as np

BINS = 64


def check_uniform(values, low=0.0, high=1.0):
    """Chi-square over BINS bins, within six deviations of its mean."""
    counts = np.histogram(values, BINS, (low, high))[0]
    expected = values.size / BINS
    distance = float(((counts - expected) ** 2).sum()) / expected
    assert counts.sum() == values.size
    assert distance < BINS + 6 * (2 * BINS) ** 0.5
