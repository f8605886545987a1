"""How near the norms of a normalised model come to dividing by the deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thex_hf.approximations.layernorm import chebyshev_root
from thex_hf.errors import InputError
from thex_hf.reports.plots.canvas import COLOURS, GREY, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier

Array = NDArray[np.float64]

PLACES = ("after attention", "after the feed-forward part")
"""Of the norms of a layer."""
POINTS = 201
STYLES = ("-", "--", ":")


@dataclass(frozen=True)
class Root:
    """The polynomial of the variance in one norm.

    Args:
        model: its name.
        layer: number of the layer.
        place: one of :data:`PLACES`.
        degree: of the polynomial.
        interval: least and largest variance that it is made for.
        variances: points of the interval.
        products: there the polynomial times the deviation; 1 is exact division.
    """

    model: str
    layer: int
    place: str
    degree: int
    interval: tuple[float, float]
    variances: tuple[float, ...]
    products: tuple[float, ...]

    @property
    def error(self) -> float:
        """The largest distance of :attr:`products` from 1."""
        return float(np.abs(np.array(self.products) - 1).max())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "error": self.error}


def read_norms(model: ThexBertClassifier, name: str) -> list[Root]:
    """The roots of all norms that divide, layer by layer.

    Args:
        model: in normalised form.
        name: of the model.

    Raises:
        InputError: no norm divides.
    """
    found = [
        _read(name, layer, place, root.coefficients, root.interval)
        for layer, one in enumerate(model.encoder_weights().layers)
        for place, root in zip(PLACES, one.roots, strict=True)
        if root is not None
    ]
    if not found:
        raise InputError(
            f"{name} is of the {model.config.form} form, whose norms divide by nothing: give a "
            f"model of the normalised form"
        )
    return found


def _read(name: str, layer: int, place: str, coefficients: Array, interval: Array) -> Root:
    low, high = map(float, interval)
    variances = np.geomspace(low, high, POINTS)
    products = chebyshev_root(variances, coefficients, interval) * np.sqrt(variances)
    return Root(
        name,
        layer,
        place,
        len(coefficients) - 1,
        (low, high),
        tuple(map(float, variances)),
        tuple(map(float, products)),
    )


def draw_norms(roots: Sequence[Root]) -> Figure:
    """A line for each norm: polynomial times deviation over the variance, 1 where they agree.

    Args:
        roots: of one model.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    figure = new_figure(f"{roots[0].model}: one over the deviation, and its polynomial", 4.4)
    places = [place for place in PLACES if any(root.place == place for root in roots)]
    every = figure.subplots(1, len(places), sharey=True, squeeze=False)[0]
    for axes, place in zip(every, places, strict=True):
        axes.axhline(1.0, color=GREY, linewidth=0.8)
        for root in (root for root in roots if root.place == place):
            turn, colour = divmod(root.layer, len(COLOURS))
            axes.plot(
                root.variances,
                root.products,
                STYLES[turn % len(STYLES)],
                color=COLOURS[colour],
                label=f"layer {root.layer}: degree {root.degree}, {100 * root.error:.1f} %",
            )
        axes.set_xscale("log")
        axes.set_xlabel(f"variance {place}")
        tidy(axes, "y")
        axes.legend(frameon=False, fontsize=8, loc="best")
    every[0].set_ylabel("polynomial x deviation")
    return figure
