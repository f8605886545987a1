"""Runs long texts window by window: to the server each window is a text of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from thex_hf.client.scores import is_number
from thex_hf.errors import OptionError, TextError
from thex_hf.pipelines.report import Report, compare, joined
from thex_hf.pipelines.runner import Runner, inputs_of
from thex_hf.tokens.options import TokenOptions
from thex_hf.tokens.windows import WINDOW_OPTIONS, Cut, WindowOptions


def window_options(options: Mapping[str, Any]) -> WindowOptions | None:
    """Those of a call that are about windows; None: texts are not cut into any.

    Raises:
        OptionError: a value that is not on offer, or ``stride`` or ``pool`` without ``window``.
    """
    return WindowOptions.of(*(options.get(name) for name in WINDOW_OPTIONS))


def check_windows(options: Mapping[str, Any], tokenizer: Any, model: Any, limit: int) -> None:
    """Refuse windows that fit no text, or that do not go with other options.

    Args:
        options: of a call, those of the constructor included.
        tokenizer: of the pipeline.
        model: of the pipeline.
        limit: the most tokens of a window.

    Raises:
        OptionError: says which, and what to do.
    """
    windows = window_options(options)
    if windows is None:
        return
    if TokenOptions(truncation=options.get("truncation")).cut is not None:
        raise OptionError(
            "window classifies all of a text, and truncation its beginning: give one of the two"
        )
    if options.get("max_length") is not None:
        raise OptionError("window is the most tokens of a window: leave out max_length")
    if model.every_token and not tokenizer.is_fast:
        raise OptionError(
            "words of windows are put together by the places of their tokens, which takes a fast "
            "tokenizer (tokenizer.json); this one is slow: leave out window"
        )
    special = options.get("add_special_tokens", True)
    windows.check(
        limit,
        tokenizer.num_special_tokens_to_add() if special else 0,
        number=is_number(model.config.problem_type, model.config.num_labels),
    )


def run_windows(
    runner: Runner, cuts: Sequence[Cut], *, fhe: str, agreement: bool, batch: int
) -> list[Report | TextError]:
    """Classify texts by their windows, each of which is classified as a text.

    Args:
        runner: of the pipeline.
        cuts: the texts.
        fhe: the mode.
        agreement: compare with what the clear model's logits of the same windows make.
        batch: windows at once.

    Returns:
        For each text its report; or the error of its first window that cannot be served.

    Raises:
        ThexError: of other kinds, which end the call.
    """
    rows = [inputs_of(window.tokens) for text in cuts for window in text.windows]
    outcomes: list[Report | TextError] = []
    for start in range(0, len(rows), batch):
        outcomes += runner.run(rows[start : start + batch], fhe=fhe, agreement=False)
    left = iter(outcomes)
    return [
        _of_text(runner, text, [next(left) for _ in text.windows], agreement=agreement)
        for text in cuts
    ]


def _of_text(
    runner: Runner, text: Cut, outcomes: Sequence[Report | TextError], *, agreement: bool
) -> Report | TextError:
    reports: list[Report] = []
    for number, outcome in enumerate(outcomes, 1):
        if isinstance(outcome, TextError):
            return text.failed(number, outcome)
        reports.append(outcome)
    logits = text.pooled([np.asarray(report.logits) for report in reports])
    report = joined(reports, logits.tolist(), len(text.tokens))
    if not agreement:
        return report
    clear = text.pooled([runner.clear(inputs_of(window.tokens)) for window in text.windows])
    return replace(
        report, agreement=compare(clear, logits, runner.model.config, text.tokens.special)
    )
