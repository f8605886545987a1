"""Where ``from_pretrained(..., convert=True)`` finds the conversion, which lies above this room."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from thex_hf.errors import ConversionError

Converter = Callable[..., str]
"""Takes source and settings, returns the folder of the converted model."""

_known: list[Converter] = []


def set_converter(converter: Converter) -> None:
    """Say what converts; ``import thex_hf`` does."""
    _known[:] = [converter]


def converted(source: str | os.PathLike[str] | None, task: str, settings: dict[str, Any]) -> str:
    """Convert a checkpoint and return the folder of the result.

    Args:
        source: folder or Hub name of the model to convert.
        task: ``"sequence"`` or ``"tokens"``.
        settings: see :func:`thex_hf.conversion.convert.convert_pretrained`.

    Raises:
        ConversionError: there is no source, or ``thex_hf`` itself was not imported.
    """
    if source is None:
        raise ConversionError("convert=True needs the name or the folder of the model to convert.")
    if not _known:
        raise ConversionError("convert=True needs the whole package: run import thex_hf first.")
    return _known[0](source, task=task, **settings)
