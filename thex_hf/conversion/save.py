"""Write a converted model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from thex_hf.conversion.report import ConversionReport
from thex_hf.errors import ConversionError
from thex_hf.hub.secrets import refuse_keys
from thex_hf.modeling import ThexBertForSequenceClassification
from thex_hf.modeling.card import write_card
from thex_hf.modeling.records import REPORT_NAME as REPORT_NAME


def check_output(folder: Path, *, overwrite: bool) -> Path:
    """Return the folder if it may be written to.

    Raises:
        ConversionError: it is a file, or holds something and ``overwrite`` is not set.
        KeyStoreError: it holds keys, which must never lie next to a model.
    """
    if folder.exists() and not folder.is_dir():
        raise ConversionError(f"output {str(folder)!r} should be a folder; it is a file.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise ConversionError(
            f"output folder {str(folder)!r} should be empty; it is not. Choose another one or "
            "allow overwriting."
        )
    refuse_keys(folder)
    return folder


@torch.no_grad()
def round_to_half(model: ThexBertForSequenceClassification) -> None:
    """Round all weights to float16 values, keeping float32 storage.

    Raises:
        ConversionError: a weight is too large for float16.
    """
    for name, parameter in model.named_parameters():
        rounded = parameter.half().float()
        if not bool(torch.isfinite(rounded).all()):
            raise ConversionError(
                f"weight {name} is too large or not finite for float16; save with half=False."
            )
        parameter.copy_(rounded)


def save_model(
    model: ThexBertForSequenceClassification,
    tokenizer: Any,
    folder: Path,
    report: ConversionReport,
    *,
    half: bool,
) -> None:
    """Save weights, configuration, tokenizer, report and a model card.

    The configuration says float32 even if the file holds float16, so that models are
    loaded for float32 arithmetic.

    Args:
        model: the converted model.
        tokenizer: saved beside it.
        folder: made if need be.
        report: written to ``conversion.json`` and the model card.
        half: store float16.
    """
    state = {k: v.half() if half else v for k, v in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state, safe_serialization=True)
    save_tokenizer(tokenizer, folder)
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / REPORT_NAME).write_text(text + "\n", encoding="utf-8")
    write_card(folder, report.to_dict())


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer so that every version of transformers, and a client without it, agree.

    Which inputs a class of tokenizers gives by default differs between versions: the file says it.
    """
    tokenizer.init_kwargs["model_input_names"] = list(tokenizer.model_input_names)
    tokenizer.save_pretrained(folder)
