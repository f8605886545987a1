"""The folder of a conversion: where it may be, and how it is written."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from thex_hf.conversion.checkpoint import BEGUN, checkpoint_folder, is_checkpoint
from thex_hf.conversion.scores import ConversionReport
from thex_hf.errors import ConversionError, ThexError
from thex_hf.hub import refuse_keys
from thex_hf.modeling import ThexBertConfig, ThexBertForSequenceClassification
from thex_hf.modeling.cards.card import README, write_card
from thex_hf.modeling.cards.head import record_in
from thex_hf.modeling.cards.measures import RECORDS, read_record
from thex_hf.modeling.cards.measures import REPORT_NAME as REPORT_NAME
from thex_hf.tokens.options import limit_of

ReadPaths = Mapping[str, str | Path]
"""What is read, such as ``source``, and where it lies."""

PARTS = (
    *RECORDS,
    *("config.json", "model*.safetensors", "model.safetensors.index.json"),
    *("tokenizer*.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model"),
)
"""Files of a saved model and its tokenizer."""


def output_folder(output: str | Path) -> Path:
    """The output folder with ``~`` expanded and with a name of its own.

    Raises:
        ConversionError: it is the root of a file system, or no path at all.
    """
    try:
        folder = Path(output).expanduser()
        if folder.name in ("", ".."):
            folder = folder.resolve()
        if not folder.name or "\0" in folder.name:
            raise ValueError("a folder with a name is needed")
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConversionError(
            f"output should be a folder; got {str(output)!r}: {error}."
        ) from error
    return folder


def check_output(folder: Path, *, overwrite: bool, reads: ReadPaths | None = None) -> None:
    """Raise unless a conversion may write to a folder; nothing is left there.

    Args:
        folder: from :func:`output_folder`; need not exist.
        overwrite: whether an earlier conversion in it may be replaced.
        reads: what the conversion reads; names that are no paths here are passed over.

    Raises:
        ConversionError: it is a file, cannot be written to, holds something and ``overwrite`` is
            not set, holds a model that is no conversion, or is not apart from what is read.
        KeyStoreError: it holds keys, which must never lie next to a model.
    """
    _check_writable(folder)
    for what, path in (reads or {}).items():
        _check_apart(folder, what, Path(path))
    if folder.exists() and not folder.is_dir():
        raise ConversionError(f"output {str(folder)!r} should be a folder; it is a file.")
    other = next((p for p in (folder, *folder.resolve().parents) if (p / BEGUN).is_file()), None)
    if other is not None:
        raise ConversionError(
            f"output {str(folder)!r} lies in {str(other)!r}, where the unfinished work of another "
            "conversion is kept and which goes when that is done. Choose another folder."
        )
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise ConversionError(
                f"output folder {str(folder)!r} should be empty; it is not. Choose another one or "
                "allow overwriting."
            )
        _check_replaceable(folder)
    checkpoint = checkpoint_folder(folder)
    if checkpoint.exists() and not is_checkpoint(checkpoint):
        raise ConversionError(
            f"{str(checkpoint)!r} is where the unfinished conversion is kept, and it holds "
            "something else. Move that away, or choose another output."
        )
    refuse_keys(folder)


@torch.no_grad()
def round_to_half(model: ThexBertForSequenceClassification) -> None:
    """Round all that is saved to float16 values, keeping float32 storage.

    Raises:
        ConversionError: a weight is too large for float16.
    """
    for name, tensor in model.state_dict().items():
        rounded = tensor.half().float()
        if not bool(torch.isfinite(rounded).all()):
            raise ConversionError(
                f"weight {name} is too large or not finite for float16; save with half=False."
            )
        tensor.copy_(rounded)


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
            save_tokenizer(tokenizer, fresh, report.options.get("max_length"))
            (fresh / REPORT_NAME).write_text(text + "\n", encoding="utf-8")
            earlier = record_in(read_record(folder, REPORT_NAME), "card")
            write_card(fresh, report.to_dict(), title=title or None, earlier=earlier)
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


def save_tokenizer(tokenizer: Any, folder: Path, most: int | None = None) -> None:
    """Save a tokenizer so that every version of transformers, and a client without it, agree.

    Which inputs a class of tokenizers gives by default differs between versions: the file says it.

    Args:
        tokenizer: left as it is but for that.
        folder: where to.
        most: tokens of the longest texts that the model learned from, padding apart. Longer ones
            are refused or cut, as those beyond ``model_max_length`` are.
    """
    tokenizer.init_kwargs["model_input_names"] = list(tokenizer.model_input_names)
    before = tokenizer.model_max_length
    if most is not None:
        tokenizer.model_max_length = limit_of(most, before)
    try:
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.model_max_length = before


def _check_apart(folder: Path, what: str, source: Path) -> None:
    """Refuse to write in, around or over what is read."""
    if not source.exists():
        return
    checkpoint = checkpoint_folder(folder)
    if source.is_dir() and (_inside(folder, source) or _inside(checkpoint, source)):
        how = "is" if _same(folder, source) else "lies inside"
    elif _inside(source, folder) or _inside(source, checkpoint):
        how = "would hold"
    else:
        return
    raise ConversionError(
        f"output {str(folder)!r} (with {checkpoint.name!r}, for unfinished work) {how} the {what} "
        f"{str(source)!r}, which a conversion must not touch. Choose an output elsewhere."
    )


def _inside(inner: Path, outer: Path) -> bool:
    """Whether a path is another one or lies below it, links and letter case seen through."""
    path = inner.resolve()
    return any(_same(one, outer) for one in (path, *path.parents))


def _same(a: Path, b: Path) -> bool:
    if a.exists() and b.exists():
        return os.path.samefile(a, b)
    return a.resolve() == b.resolve()


def _check_writable(folder: Path) -> None:
    """Try to write beside the output, where the unfinished work will be."""
    try:
        there = next(path for path in folder.absolute().parents if path.exists())
        with tempfile.TemporaryDirectory(dir=there, prefix=".thex-") as trial:
            Path(trial, checkpoint_folder(folder).name).mkdir()
        if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(f"no permission to write in {folder}")
    except OSError as error:
        raise ConversionError(
            f"output {str(folder)!r} cannot be written to: {error.strerror or error}. Choose "
            "another folder, or change its permissions."
        ) from error


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace a model that is no conversion: it may be the only copy."""
    kind = None
    for name in ("config.json", "adapter_config.json"):
        path = folder / name
        if path.exists():
            try:
                kind = json.loads(path.read_text(encoding="utf-8")).get("model_type", name)
            except (OSError, ValueError, AttributeError):
                kind = f"unknown ({name} cannot be read)"
        if kind not in (None, ThexBertConfig.model_type):
            raise ConversionError(
                f"output folder {str(folder)!r} holds a model that is no conversion (model_type "
                f"{kind}); overwriting replaces earlier conversions only. Choose another folder."
            )
