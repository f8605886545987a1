"""Costs by protocol: what was measured is told apart from what was estimated."""

import json
from pathlib import Path

import pytest

from thex_hf.errors import InputError
from thex_hf.reports.plots.protocols import draw_protocols, read_protocols

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "protocols.json"
ESTIMATE = {
    "tokens": 16,
    "protocol": "refresh",
    "ring_degree": 8192,
    "server_seconds": 2.0,
    "up_bytes": 3_000_000,
    "down_bytes": 1_000_000,
    "key_bytes": 11_000_000,
}


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


def test_committed_results_are_read_as_measured():
    rows = json.loads(RESULTS.read_text())["rows"]
    costs = read_protocols(RESULTS.read_text(), "results")
    assert [cost.server_seconds for cost in costs] == [row["server_seconds"] for row in rows]
    assert [cost.texts for cost in costs] == [row.get("batch", 1) for row in rows]
    assert {cost.measured for cost in costs} == {True}
    assert all((cost.client_seconds is None) == (cost.texts > 1) for cost in costs)
    assert "measured on ciphertexts" in draw_protocols(costs).get_suptitle()


@pytest.mark.parametrize("count", [1, 2])
def test_estimates_are_read_line_by_line(count):
    costs = read_protocols(lines(*[ESTIMATE] * count) + "\n", "costs")
    assert len(costs) == count
    assert not costs[0].measured
    assert costs[0].client_seconds is None
    assert "estimated" in draw_protocols(costs).get_suptitle()


def test_bars_have_the_numbers_and_rows_say_which_is_which():
    measured = {**ESTIMATE, "ring": 8192, "client_seconds": 0.5, "processes": 2}
    costs = read_protocols(lines(ESTIMATE, measured), "costs")
    figure = draw_protocols(costs, "mine")
    shown = {
        bars.get_label(): [bar.get_width() for bar in bars]
        for axes in figure.axes
        for bars in axes.containers
    }
    assert shown == {
        "server": [2.0, 2.0],
        "client": [0.0, 0.5],
        "up": [3.0, 3.0],
        "down": [1.0, 1.0],
        "keys, sent once": [11.0, 11.0],
    }
    first, second = (label.get_text() for label in figure.axes[0].get_yticklabels())
    assert first.endswith("1 process, estimated")
    assert second.endswith("2 processes, measured")
    assert "mine" in figure.get_suptitle()


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not JSON", '{"rows": []}', '{"rows": [3]}'])
def test_what_holds_no_costs_is_refused(text):
    with pytest.raises(InputError, match="thex-hf estimate --json"):
        read_protocols(text, "costs")
