"""Seconds and bytes of one text, by protocol: measured, or expected."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from thex_hf.errors import InputError
from thex_hf.reports.plots.canvas import BLUE, GREY, ORANGE, ROW, new_figure, rows, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURED, ESTIMATED = "measured on ciphertexts", "estimated (without the client's seconds)"
HOW = "thex-hf estimate --json > costs.jsonl, then thex-hf plot protocols --data costs.jsonl"


@dataclass(frozen=True)
class ProtocolCost:
    """What one text costs under one protocol; shared out evenly where texts share a request.

    Args:
        protocol: its name.
        tokens: length of the text.
        ring_degree: N; 0 where there is none.
        server_seconds: of the server.
        client_seconds: of the client; None where nobody measured it.
        up_bytes: from client to server.
        down_bytes: from server to client.
        key_bytes: evaluation keys, sent once.
        measured: on ciphertexts; otherwise added up from the primitives' times.
        processes: of the server.
        texts: in one request.
    """

    protocol: str
    tokens: int
    ring_degree: int
    server_seconds: float
    client_seconds: float | None
    up_bytes: int
    down_bytes: int
    key_bytes: int
    measured: bool
    processes: int = 1
    texts: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def words(self, *, kind: bool) -> str:
        """For a row of a figure; ``kind`` also says whether it was measured."""
        shared = f", {self.texts} texts" if self.texts > 1 else ""
        ring = f", N = {self.ring_degree}" if self.ring_degree else ""
        several = "es" if self.processes > 1 else ""
        how = f", {'measured' if self.measured else 'estimated'}" if kind else ""
        return (
            f"{self.protocol}, {self.tokens} tokens{shared}{ring},\n"
            f"{self.processes} process{several}{how}"
        )


def read_protocols(text: str, name: str) -> list[ProtocolCost]:
    """What ``thex-hf estimate --json`` printed, or ``benchmarks/results/protocols.json``.

    Args:
        text: one JSON object with ``rows``, or one object a line.
        name: where the text is from, for errors.

    Raises:
        InputError: it is neither.
    """
    try:
        found = [_cost(row) for row in _rows(text)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{name} should hold what estimate --json prints, or be benchmarks/results/"
            f"protocols.json; got {error!r}. Make it with: {HOW}"
        ) from error
    if not found:
        raise InputError(f"{name} holds no costs. Make it with: {HOW}")
    return found


def _rows(text: str) -> Iterable[Mapping[str, Any]]:
    try:
        whole = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    rows: Iterable[Mapping[str, Any]] = whole.get("rows", [whole])
    return rows


def _cost(row: Mapping[str, Any]) -> ProtocolCost:
    client, measured = row.get("client_seconds"), "client_seconds" in row
    texts = int(row.get("batch") or 1)
    return ProtocolCost(
        protocol=str(row["protocol"]),
        tokens=int(row["tokens"]),
        ring_degree=int(row["ring"] if measured else row["ring_degree"]),
        server_seconds=float(row["server_seconds"]),
        client_seconds=None if client is None or texts > 1 else float(client),
        up_bytes=int(row["up_bytes"]),
        down_bytes=int(row["down_bytes"]),
        key_bytes=int(row["key_bytes"]),
        measured=measured,
        processes=int(row.get("processes", 1)),
        texts=texts,
    )


def draw_protocols(costs: Sequence[ProtocolCost], model: str = "") -> Figure:
    """Seconds, bytes and keys side by side, one row a protocol and length.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    kinds = {MEASURED if cost.measured else ESTIMATED for cost in costs}
    title = f"cost of one text, {' and '.join(sorted(kinds))}"
    figure = new_figure(
        f"{model}: {title}" if model else title.capitalize(), 1.7 + 2 * ROW * len(costs)
    )
    seconds, traffic, keys = figure.subplots(1, 3, sharey=True, width_ratios=(5, 4, 3))
    rows(seconds, [cost.words(kind=len(kinds) > 1) for cost in costs])
    client = [cost.client_seconds or 0.0 for cost in costs]
    _bars(seconds, "server", [cost.server_seconds for cost in costs], BLUE)
    if any(client):
        _bars(seconds, "client", client, ORANGE, [cost.server_seconds for cost in costs])
    up = [cost.up_bytes / 1e6 for cost in costs]
    _bars(traffic, "up", up, BLUE)
    _bars(traffic, "down", [cost.down_bytes / 1e6 for cost in costs], ORANGE, up)
    _bars(keys, "keys, sent once", [cost.key_bytes / 1e6 for cost in costs], GREY)
    for axes, unit in ((seconds, "seconds a text"), (traffic, "MB a text"), (keys, "MB")):
        axes.set_xlabel(unit)
        axes.tick_params(axis="y", length=0)
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=9
        )
    return figure


def _bars(
    axes: Axes,
    label: str,
    widths: Sequence[float],
    colour: str,
    left: Sequence[float] | None = None,
) -> None:
    axes.barh(range(len(widths)), widths, left=left or 0, height=0.6, color=colour, label=label)
    tidy(axes, "x")
