"""A progress bar that obeys the switches of transformers and the hub."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from tqdm.auto import tqdm

DELAY = 2.0  # seconds before a bar shows at all
T = TypeVar("T")


def progress(total: int, what: str, *, shown: bool = True) -> Any:
    """A tqdm bar on standard error: none off a terminal, or where the switches say so.

    Of several processes that train together the first one has it.

    Args:
        total: how often it will be updated.
        what: is being counted.
        shown: False: no bar.
    """
    switch = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper()
    off = switch in ("1", "ON", "YES", "TRUE") or not _transformers_bars()
    off = off or os.environ.get("RANK", "0") != "0" or not shown
    return tqdm(total=total, desc=what, leave=False, delay=DELAY, disable=True if off else None)


def steps(items: Sequence[T], what: str) -> Iterator[T]:
    """The items, with a bar of how many have been dealt with."""
    with progress(len(items), what) as bar:
        for item in items:
            yield item
            bar.update()


def _transformers_bars() -> bool:
    logging = sys.modules.get("transformers.utils.logging")  # never imported for its switch
    return True if logging is None else bool(logging.is_progress_bar_enabled())
