"""What is refused of a checkpoint, and what is said of one that runs in clear."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from thex_hf.approximations.softmax import load_reciprocal
from thex_hf.errors import ConversionError, OptionError, ThexError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.tasks import HUB_TASKS
from thex_hf.tasks import TASKS

logger = logging.get_logger(__name__)
STOCK_TASKS = {name for task in TASKS for name in task.stock}
"""Of stock pipelines that a classifier can be in."""

STOCK = "transformers.pipelines"
FRAMES = 12
"""How far up the callers a pipeline is looked for."""


def check_reciprocal(config: ThexBertConfig) -> None:
    """Refuse weights that were trained with another reciprocal network.

    Raises:
        ConversionError: the configuration names another network than the one shipped.
    """
    if config.softmax != "estimate" or config.reciprocal is None:
        return
    shipped = load_reciprocal().fingerprint()
    if config.reciprocal != shipped:
        raise ConversionError(
            f"this checkpoint was converted with reciprocal network {config.reciprocal}, and "
            f"this version of thex_hf has {shipped}. Convert the model again, or use the "
            "version of thex_hf that converted it."
        )


def refuse_client_half(config: ThexBertConfig) -> None:
    """Refuse a client's half, whose encoder would be made up of random numbers.

    Raises:
        ConversionError: the configuration says that it is one.
    """
    if getattr(config, "part", None) == "client":
        raise ConversionError(
            "this is the client's half of a model: embeddings and tokenizer, no encoder. Load it "
            "with thex_hf.client.half.ClientHalf.open, or give the folder of the whole model."
        )


def check_head(saved_as: str | None, tasks: Sequence[str]) -> None:
    """Refuse a model of another task: its classifier would be another's, or random numbers.

    Args:
        saved_as: name of the class in the checkpoint; one that is not ours, or None, passes.
        tasks: the Hub's names of what will do.

    Raises:
        ConversionError: the checkpoint has another classifier, or none.
    """
    task = HUB_TASKS.get(saved_as or "")
    if task is None or task in tasks:
        return
    advice = (
        "an encoder without a classifier gets one by: thex-hf convert --fine-tune"
        if task == "feature-extraction"
        else f"use pipeline('thex-{task}')"
    )
    raise ConversionError(
        f"expected a model for {' or '.join(tasks)}, got {saved_as}, one for {task}; {advice}"
    )


def check_dtype(model: nn.Module) -> None:
    """Refuse a model that does not compute in float32, as clients and servers do.

    Raises:
        OptionError: says what it has.
    """
    others = {p.dtype for p in model.parameters()} - {torch.float32}
    if others:
        raise OptionError(
            f"encrypted inference needs a model in float32; this one has "
            f"{', '.join(sorted(map(str, others)))}. Leave out dtype=..., or pass model.float()."
        )


def misfit(name: str, report: Mapping[str, Any]) -> str | None:
    """What is wrong with a checkpoint whose weights are not those of its model; None if nothing.

    A classifier may be missing: a fresh one is trained then.

    Args:
        name: folder or Hub name.
        report: of transformers, with ``missing_keys`` and ``unexpected_keys``.
    """
    missing = [k for k in sorted(report["missing_keys"]) if not k.startswith("classifier.")]
    more = sorted(report["unexpected_keys"])
    words = [
        f"it {what} {len(keys)}, such as {keys[0]}"
        for what, keys in (("lacks", missing), ("has more than its model reads:", more))
        if keys
    ]
    if not words:
        return None
    return f"the weights in {name!r} are not those of its config.json: {'; '.join(words)}"


def refuse_misfit(model: Any) -> None:
    """Refuse a model that was loaded from a checkpoint of other weights, so partly random.

    Raises:
        ConversionError: says which weights are not as they should be.
    """
    if model.misfit:
        raise ConversionError(
            f"{model.misfit}. What is missing would be random numbers. Save the model again with "
            "save_pretrained; one with an adapter inside, after merge_and_unload()."
        )


def refuse_pickle(folder: Path) -> None:
    """Refuse a local folder that holds pickled weights and no safetensors.

    Raises:
        ConversionError: there are ``.bin`` files and no ``.safetensors`` file.
    """
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if pickled:
        raise ConversionError(
            f"{str(folder)!r} should hold model.safetensors, but has only {', '.join(pickled)}. "
            "Pickled weights can run code and are never read: load the model in a safe place "
            "and save it again with save_pretrained(..., safe_serialization=True)."
        )


def unloadable(name: str, error: OSError) -> ThexError:
    """The error for a model that transformers does not find; an error of ours stays what it is."""
    if isinstance(error, ThexError):
        return error
    first = str(error).strip().splitlines()[0]
    return ConversionError(
        f"cannot load {name!r}: {first} Give a folder or a Hub name of a model made by thex-hf "
        f"convert; without network only folders and cached models load."
    )


def tell_if_stock(model: Any) -> None:
    """Warn, once for each model, if a stock pipeline is loading or running it.

    Only the callers know: nothing else tells a pipeline's forward pass from a user's own.

    Args:
        model: remembers that it was told.
    """
    if model.training or model.told_clear or torch.compiler.is_compiling():
        return
    frame: Any = sys._getframe(1)
    for _ in range(FRAMES):
        if frame is None:
            return
        if str(frame.f_globals.get("__name__", "")).startswith(STOCK):
            pipeline = frame.f_locals.get("self")
            named = getattr(pipeline, "task", "") or frame.f_locals.get("task", "")
            task = str(named or model.task.name)
            if task in STOCK_TASKS and not _is_ours(pipeline):
                model.told_clear = True
                logger.warning(
                    f"nothing is encrypted: pipeline({task!r}) runs this THE-X model in clear. For "
                    f"encrypted inference use pipeline({model.task.pipeline!r}, model=...)."
                )
            return
        frame = frame.f_back


def _is_ours(pipeline: Any) -> bool:
    return any(kind.__module__.startswith("thex_hf.") for kind in type(pipeline).__mro__)
