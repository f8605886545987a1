"""What is said of two answers: the same labels or not, and how far apart."""

from types import SimpleNamespace

import numpy as np
import pytest

from thex_hf.pipelines.report import compare

NAMES = {0: "O", 1: "PER", 2: "LOC"}


def config(problem_type=None):
    return SimpleNamespace(id2label=NAMES, problem_type=problem_type)


def test_one_label_of_several():
    clear, near = np.array([0.0, 2.0, 1.0]), np.array([0.5, 2.0, 1.0])
    found = compare(clear, near, config())
    assert (found.label, found.same_label, found.same_tokens) == ("PER", True, None)
    assert found.largest_logit_difference == 0.5
    assert not compare(clear, clear[::-1] + np.array([3, 0, 0]), config()).same_label


def test_several_labels_at_once():
    """The largest logit is the same in all three; what counts is every sign."""
    several = config("multi_label_classification")
    clear = np.array([3.0, 0.1, -0.1])
    assert compare(clear, np.array([3.0, 0.2, -0.3]), several).label == "O, PER"
    assert compare(clear, np.array([3.0, 0.2, -0.3]), several).same_label
    assert not compare(clear, np.array([3.0, 0.2, 0.1]), several).same_label
    assert compare(clear, np.array([3.0, 0.2, 0.1]), config()).same_label


def test_tokens():
    """Special tokens have logits that count, and labels that do not."""
    clear, own = np.zeros((4, 3)), np.zeros((4, 3))
    clear[[0, 1, 2, 3], [2, 1, 0, 2]] = 1.0
    own[[0, 1, 2, 3], [0, 1, 1, 2]] = 1.0
    found = compare(clear, own, config(), special=[1, 0, 0, 1])
    assert (found.label, found.same_label, found.same_tokens) == ("PER O", False, 0.5)
    assert compare(clear, own, config()).same_tokens == pytest.approx(0.5)
    assert compare(clear[:2], own[:2], config(), [1, 0]).same_label
    nothing = compare(clear, own, config(), [1, 1, 1, 1])
    assert (nothing.label, nothing.same_label, nothing.same_tokens) == ("", True, 1.0)
