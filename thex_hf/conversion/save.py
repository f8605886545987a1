"""Write a converted model folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from thex_hf.conversion.scores import ConversionReport
from thex_hf.errors import ConversionError, ThexError
from thex_hf.hub.secrets import refuse_keys
from thex_hf.modeling import ThexBertForSequenceClassification
from thex_hf.modeling.cards.card import README, write_card
from thex_hf.modeling.cards.measures import RECORDS
from thex_hf.modeling.cards.measures import REPORT_NAME as REPORT_NAME

PARTS = (
    *RECORDS,
    *("config.json", "model*.safetensors", "model.safetensors.index.json"),
    *("tokenizer*.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model"),
)
"""Files of a saved model and its tokenizer."""


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

    All is written in a folder beside it and then moved there, so that a save that fails leaves
    an earlier conversion as it was. Files of that conversion that the new one lacks go; what else
    lies there stays. The configuration says float32 even if the file holds float16, so that
    models are loaded for float32 arithmetic.

    Args:
        model: the converted model.
        tokenizer: saved beside it.
        folder: made if need be.
        report: written to ``conversion.json`` and the model card.
        half: store float16.

    Raises:
        ConversionError: it cannot be written; what was there is unchanged.
        KeyStoreError: the folder holds keys by now.
    """
    refuse_keys(folder)
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    state = {k: v.half() if half else v for k, v in model.state_dict().items()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
            fresh, title = Path(place), folder.resolve().name
            if (folder / README).is_file():  # our part of it is written anew
                shutil.copyfile(folder / README, fresh / README)
                title = ""
            model.save_pretrained(fresh, state_dict=state, safe_serialization=True)
            save_tokenizer(tokenizer, fresh)
            (fresh / REPORT_NAME).write_text(text + "\n", encoding="utf-8")
            write_card(fresh, report.to_dict(), title=title or None)
            _move(fresh, folder)
    except ThexError:
        raise
    except (OSError, SafetensorError) as error:
        raise ConversionError(
            f"the converted model cannot be saved in {str(folder)!r}: {error}. Make room or change "
            "permissions there, then repeat the command: it goes on with what is done."
        ) from error


def _move(fresh: Path, folder: Path) -> None:
    """Put new files in the place of an earlier conversion's."""
    folder.mkdir(exist_ok=True)
    names = {path.name for path in fresh.iterdir()}
    old = [path for path in folder.iterdir() if path.name not in names and _of_model(path)]
    for path in sorted(fresh.iterdir(), key=lambda path: path.name == REPORT_NAME):
        if path.is_dir():
            shutil.rmtree(folder / path.name, ignore_errors=True)
        os.replace(path, folder / path.name)
    for path in old:
        path.unlink()


def _of_model(path: Path) -> bool:
    """Whether a file is part of a saved model: it would be read together with the new ones."""
    return path.is_file() and any(fnmatch(path.name, pattern) for pattern in PARTS)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer so that every version of transformers, and a client without it, agree.

    Which inputs a class of tokenizers gives by default differs between versions: the file says it.
    """
    tokenizer.init_kwargs["model_input_names"] = list(tokenizer.model_input_names)
    tokenizer.save_pretrained(folder)
