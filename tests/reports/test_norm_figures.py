"""What the norms of a normalised model multiply by, against one over the deviation."""

import numpy as np
import pytest

import thex_hf
from thex_hf.approximations.layernorm import inverse_root
from thex_hf.errors import InputError
from thex_hf.reports.plots.norms import PLACES, draw_norms, read_norms


@pytest.fixture
def model():
    config = thex_hf.ThexBertConfig(
        vocab_size=24, hidden_size=16, num_attention_heads=2, intermediate_size=24,
        activation="quadratic", softmax="power", norm="chebyshev", norm_degrees=[[4, 0], [1, 8]],
    )  # fmt: skip
    return thex_hf.ThexBertForSequenceClassification(config)


def test_every_norm_that_divides_has_its_degree_interval_and_error(model):
    roots = read_norms(model, "deep")
    found = [(root.layer, PLACES.index(root.place), root.degree) for root in roots]
    assert found == [(0, 0, 4), (1, 0, 1), (1, 1, 8)]
    for root in roots:
        _, error = inverse_root(*root.interval, root.degree)
        assert root.error == pytest.approx(error, rel=0.02)
        assert (root.variances[0], root.variances[-1]) == pytest.approx(root.interval)
        assert root.to_json()["error"] == root.error


def test_lines_are_the_products(model):
    pytest.importorskip("matplotlib")
    roots = read_norms(model, "deep")
    first, second = draw_norms(roots).axes
    assert len(first.lines) == 3  # with that of exact division
    np.testing.assert_array_equal(second.lines[1].get_ydata(), roots[2].products)
    assert "degree 8" in second.lines[1].get_label()


def test_other_forms_have_no_such_norms():
    model = thex_hf.ThexBertForSequenceClassification(
        thex_hf.ThexBertConfig(
            vocab_size=24, hidden_size=16, num_attention_heads=2, intermediate_size=24
        )
    )
    with pytest.raises(InputError, match="give a model of the normalised form"):
        read_norms(model, "plain")
