"""Options of another type than they should have."""

import pytest

from thex_hf.conversion import options_from
from thex_hf.errors import OptionError


@pytest.mark.parametrize(
    "wrong", [{"half": "no"}, {"early_stop": "x"}, {"max_length": 7.5}, {"max_length": "64"}]
)
def test_options_of_another_type_are_refused(wrong):
    with pytest.raises(OptionError):
        options_from(**wrong)


@pytest.mark.parametrize("effort", [-1, float("nan"), float("inf"), "1"])
def test_an_effort_is_a_number(effort):
    with pytest.raises(OptionError, match="effort"):
        options_from(effort=effort)
