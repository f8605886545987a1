"""A run and the clear model's on the same texts, of those that both could serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thex_hf.conversion.table import Place, Skipped, sift
from thex_hf.evaluation.base import logger
from thex_hf.evaluation.runs import Run, classify, error_of

MOST_TOLD = 20
"""How many rows that were left out a warning names; all are in the figures."""


@dataclass(frozen=True)
class Both:
    """A run, and that of the clear model if it was wanted, of the inputs that could be served.

    ``kept`` says which these are, ``skipped`` which others there were. ``speed`` counts all.
    """

    run: Run
    clear: Run | None
    kept: tuple[int, ...]
    skipped: tuple[Skipped, ...]
    speed: dict[str, float]


def run_both(
    pipe: Any,
    inputs: Sequence[Any],
    places: Sequence[Place],
    *,
    fhe: str,
    compare: bool,
    batch_size: int | None,
    on_error: str,
) -> Both:
    """Classify all inputs, and again in clear.

    Args:
        pipe: a pipeline of ours.
        inputs: as for :func:`classify`.
        places: of the inputs, in the data.
        fhe: mode.
        compare: also run the clear model, unless that is the mode.
        batch_size: texts at once.
        on_error: ``skip`` leaves out what cannot be served in either run.

    Raises:
        InputError: nothing could be served.
        ThexError: as the pipeline raises.
    """
    errors: Any = {"on_error": on_error, "places": places}
    run = classify(pipe, inputs, fhe=fhe, batch_size=batch_size, **errors)
    clear = None
    if compare and fhe != "disable":
        clear = classify(pipe, inputs, fhe="disable", **errors)
    reasons = [
        next((reason for report in reports if (reason := error_of(report))), None)
        for reports in zip(run.reports, (clear or run).reports, strict=True)
    ]
    kept, skipped = sift(reasons, "", places, on_error)
    return Both(
        run.pick(kept), None if clear is None else clear.pick(kept), tuple(kept), skipped,
        run.speed(),
    )  # fmt: skip


def tell(skipped: Sequence[Skipped]) -> None:
    """Warn of rows that were left out."""
    if skipped:
        logger.warning(
            "%d rows were left out of the scores: %s%s",
            len(skipped),
            "; ".join(map(str, skipped[:MOST_TOLD])),
            "; ..." if len(skipped) > MOST_TOLD else "",
        )
