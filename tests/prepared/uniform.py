"""Whether numbers look uniform or alike, without a library that tests need not have."""

import numpy as np

BINS = 64
DEVIATIONS = 3.27  # of two samples alike, one in 10**9 is further apart


def check_uniform(values, low=0.0, high=1.0):
    """Chi-square over BINS bins, within six deviations of its mean."""
    counts = np.histogram(values, BINS, (low, high))[0]
    expected = values.size / BINS
    distance = float(((counts - expected) ** 2).sum()) / expected
    assert counts.sum() == values.size
    assert distance < BINS + 6 * (2 * BINS) ** 0.5


def told_apart(first, second):
    """Kolmogorov's and Smirnov's test of two samples of arrays: of all numbers, and at each place.

    ``(n, ...)`` and ``(m, ...)``: the numbers themselves, and their lowest bytes.
    """
    pairs = [(first, second), (first & np.uint64(255), second & np.uint64(255))]
    return any(
        _distance(*sample) > DEVIATIONS * sum(1 / len(one) for one in sample) ** 0.5
        for a, b in pairs
        for sample in [(a.ravel(), b.ravel()), *zip(_places(a), _places(b), strict=True)]
    )


def _places(arrays):
    return arrays.reshape(len(arrays), -1).T


def _distance(first, second):
    """The largest between the shares of both that lie below the same number."""
    every = np.concatenate([first, second])
    below = [
        np.searchsorted(np.sort(one), every, side="right") / len(one) for one in (first, second)
    ]
    return np.abs(below[0] - below[1]).max()
