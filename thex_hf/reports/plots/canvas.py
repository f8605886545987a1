"""An empty figure, its colours, what it is about, and how it becomes a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thex_hf._extras import require
from thex_hf._paths import user_path
from thex_hf.circuits.plan import Plan
from thex_hf.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PINK, GREY = "#56B4E9", "#CC79A7", "#767676"
PALE, MINT = "#E8E8E8", "#CFE8DC"
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
"""Okabe and Ito's palette, which the colour-blind can tell apart."""
WIDTH = 8.0
DPI = 140
ROW = 0.235
"""Inches a row of a horizontal chart takes."""


def new_figure(title: str, height: float) -> Figure:
    """An empty figure of :data:`WIDTH` by ``height`` inches.

    Raises:
        BackendUnavailable: matplotlib is not installed; names the pip line.
    """
    library = require("matplotlib.figure", install="'thex_hf[plots]'", purpose="drawing figures")
    figure: Figure = library.Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=10)
    return figure


def tidy(axes: Axes, along: str) -> None:
    """Leave the frame's left and lower side, and a light grid of the axis that has numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x" if along == "x" else "y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)


def rows(axes: Axes, labels: Sequence[str]) -> None:
    """Label the rows of a horizontal chart, the first one at the top."""
    axes.set_yticks(range(len(labels)), labels, fontsize=9)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def check_place(path: Path) -> Path:
    """A place that a figure can be written to.

    Raises:
        OptionError: matplotlib knows no format of that ending, or there is no such folder.
        BackendUnavailable: matplotlib is not installed.
    """
    path = user_path("out", path)
    known = sorted(new_figure("", 1.0).canvas.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in known:
        raise OptionError(
            f"a figure's name should end in {', '.join('.' + name for name in known)}; "
            f"got {path.name!r}"
        )
    if not path.parent.is_dir():
        raise OptionError(f"there is no folder {str(path.parent)!r} to write {path.name!r} into")
    return path


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format that the file's name ends in.

    Raises:
        OptionError: see :func:`check_place`.
    """
    figure.savefig(check_place(path))
    return path


@dataclass(frozen=True)
class Subject:
    """The model, and how it is run.

    Args:
        model: its name.
        protocol: ``client-aided``, ``refresh`` or ``one-shot``.
        tokens: what texts are padded to.
        ring_degree: N.
    """

    model: str
    protocol: str
    tokens: int
    ring_degree: int

    @classmethod
    def of(cls, plan: Plan, model: str) -> Subject:
        """That of a plan for a model of a name."""
        return cls(model, plan.protocol, plan.shape.tokens, plan.parameters.ring_degree)

    @property
    def title(self) -> str:
        """For the head of a figure."""
        return f"{self.model}, {self.protocol}, {self.tokens} tokens, N = {self.ring_degree}"


def stage_words(layer: str, stage: str) -> str:
    """A stage as the rows of a figure name it."""
    return f"{layer_words(layer)}: {stage}" if layer else stage


def layer_words(layer: str) -> str:
    """A layer by its number; the last FFN with its classifier has a name instead."""
    return f"layer {layer}" if layer.isdecimal() else layer
