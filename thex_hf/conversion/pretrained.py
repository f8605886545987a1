"""``from_pretrained(source, convert=True, ...)``: convert once, load from the cache afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from transformers.utils import logging

from thex_hf.conversion.convert import convert_opened
from thex_hf.conversion.opening import ConversionInputs, Data, open_inputs, read_paths
from thex_hf.conversion.options import ConversionOptions, options_from
from thex_hf.conversion.output import check_output, output_folder
from thex_hf.conversion.save import REPORT_NAME
from thex_hf.errors import ConversionError, OptionError
from thex_hf.modeling.cards.measures import read_record

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

    What has been done is known by digests of the source's weights, configuration and tokenizer,
    of texts, options and version, not by names: the source is loaded to see.

    Args:
        source: folder or Hub name of the model to convert.
        task: ``"sequence"`` or ``"tokens"``.
        train: labelled texts to train with, see :func:`thex_hf.conversion.convert`.
        dev: texts to measure the score on.
        output: folder for the result; by default one in the Hugging Face cache, named after all
            that decides it.
        options: all options; or else a few as ``flags``.
        pooling: for an encoder without a classifier.
        **flags: settings of :func:`thex_hf.conversion.options.options_from`, such as ``form``.

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
    source = os.fspath(source) if isinstance(source, os.PathLike) else source
    inputs = open_inputs(source, train, dev, chosen, task, pooling)
    if output is None:
        folder = output_folder(Path(constants.HF_HOME) / "thex_hf" / cache_name(inputs))
        folder.parent.mkdir(parents=True, exist_ok=True)
    else:
        folder = output_folder(os.fspath(output))
    report = read_record(folder, REPORT_NAME) or {}
    if report.get("digest") == inputs.digest and not chosen.overwrite:
        logger.info("converted before: %s", folder)
        return str(folder)
    check_output(folder, overwrite=chosen.overwrite, reads=read_paths(source, train, dev))
    convert_opened(inputs, folder)
    return str(folder)


def cache_name(inputs: ConversionInputs) -> str:
    """Name of the folder in the cache: that of the source, and a digest of all that decides."""
    return f"{Path(inputs.name).name}-{inputs.digest[:16]}"
