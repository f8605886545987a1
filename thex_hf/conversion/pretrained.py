"""``from_pretrained(source, convert=True, ...)``: convert once, load from the cache afterwards."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from transformers.utils import logging

from thex_hf.conversion.convert import convert
from thex_hf.conversion.data import LabelledTexts
from thex_hf.conversion.flags import options_from
from thex_hf.conversion.opening import Data
from thex_hf.conversion.options import ConversionOptions
from thex_hf.conversion.save import REPORT_NAME
from thex_hf.errors import ConversionError, OptionError

logger = logging.get_logger(__name__)


def convert_pretrained(
    source: str | os.PathLike[str],
    *,
    task: str,
    train: Data | None = None,
    dev: Data | None = None,
    output: str | os.PathLike[str] | None = None,
    options: ConversionOptions | None = None,
    pooling: str | None = None,
    **flags: Any,
) -> str:
    """Convert a model unless that has been done, and return its folder.

    Args:
        source: folder or Hub name of the model to convert.
        task: ``"sequence"`` or ``"tokens"``.
        train: labelled texts to train with, see :func:`thex_hf.conversion.convert`.
        dev: texts to measure the score on.
        output: folder for the result; by default one in the Hugging Face cache, named after all
            that decides it.
        options: all options; or else a few as ``flags``.
        pooling: for an encoder without a classifier.
        **flags: settings of :func:`thex_hf.conversion.flags.options_from`, such as ``form``.

    Raises:
        ConversionError: texts are missing, or as :func:`convert` raises.
        OptionError: unknown settings, or both ``options`` and ``flags``.
    """
    if train is None or dev is None:
        raise ConversionError(
            "convert=True needs labelled texts: pass train=... and dev=..., files or data sets."
        )
    if options is not None and flags:
        raise OptionError(f"pass options or {', '.join(flags)}, not both.")
    try:
        chosen = options or options_from(**flags)
    except TypeError as error:
        raise OptionError(f"convert=True got settings that are not on offer: {error}.") from error
    facts = [str(source), task, pooling, _digest(train), _digest(dev), asdict(chosen)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    cache = Path(constants.HF_HOME) / "thex_hf" / f"{Path(str(source)).name}-{digest}"
    folder = cache if output is None else Path(output)
    if (folder / REPORT_NAME).is_file() and not chosen.overwrite:
        logger.info("converted before: %s", folder)
        return str(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    convert(str(source), folder, train=train, dev=dev, options=chosen, task=task, pooling=pooling)
    return str(folder)


def _digest(data: Data) -> str:
    """Contents of a file or of texts; the name of a data set."""
    if isinstance(data, LabelledTexts):
        return hashlib.sha256(json.dumps(asdict(data)).encode()).hexdigest()
    path = Path(data)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(data)
