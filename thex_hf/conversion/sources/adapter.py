"""A checkpoint that is an adapter of PEFT: merge it into its base model, or say why not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from thex_hf._extras import require
from thex_hf.conversion.sources.families import HEADLESS
from thex_hf.conversion.sources.reading import optional_file
from thex_hf.errors import BackendUnavailable, ConversionError
from thex_hf.tasks import TASKS

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
WHOLE = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
ADAPTER_TASKS = {task.adapter: task.source for task in TASKS if task.adapter}
ADVICE = (
    "Merge the adapter into its base model (merge_and_unload() of peft), save the result with its "
    "tokenizer and convert that."
)
_PREFIX = "base_model.model."
_MARKS = (".base_layer.", ".modules_to_save.", ".original_module.", ".lora_")


@dataclass(frozen=True)
class Adapter:
    """An adapter and what it belongs to.

    Args:
        name: its folder or Hub name.
        base: folder or Hub name of the model that it was trained on.
        task: ``"sequence"`` or ``"tokens"``; None if it does not say.
        shapes: of its tensors, by their names in the merged model.
    """

    name: str
    base: str
    task: str | None
    shapes: Mapping[str, tuple[int, ...]]

    def task_on(self, head: str) -> str:
        """The task of the merged model, given the head of the base model.

        Raises:
            ConversionError: there is no classifier, neither in the base nor in the adapter.
        """
        task = self.task or head
        if task == HEADLESS:
            raise ConversionError(
                f"{self.name!r} is an adapter without a classifier, and its base model "
                f"{self.base!r} has none either. {ADVICE}"
            )
        return task

    def count(self, classifier: str) -> int | None:
        """How many labels its own classifier has; None if it has none.

        Args:
            classifier: name of that module, with a dot at the end.
        """
        shape = self.shapes.get(f"{classifier}weight")
        return None if shape is None else shape[0]


def refuse_unmerged(names: Iterable[str]) -> None:
    """Refuse a loaded model whose layers are wrapped by an adapter.

    Args:
        names: of its tensors.

    Raises:
        ConversionError: names a tensor that belongs to an adapter.
    """
    marked = next((name for name in names if any(mark in name for mark in _MARKS)), None)
    if marked is not None:
        raise ConversionError(f"the model has layers of an adapter ({marked}). {ADVICE}")


def base_of(source: str | Path) -> str | None:
    """The base model of an adapter; None for any other checkpoint."""
    adapter = find_adapter(source)
    return None if adapter is None else adapter.base


def find_adapter(source: str | Path) -> Adapter | None:
    """Read what an adapter says of itself; None if the checkpoint is none.

    Raises:
        ConversionError: it is an adapter beside a whole model, names no base model, is damaged,
            pickled, or not of a kind that can be merged safely.
    """
    path = optional_file(source, CONFIG)
    if path is None:
        return None
    name = str(source)
    whole = [file for file in WHOLE if optional_file(source, file)]
    if whole:
        raise ConversionError(
            f"{name!r} has a whole model ({whole[0]}) and an adapter ({CONFIG}): which of them is "
            f"meant? {ADVICE}"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
        if not isinstance(base, str) or not base:
            raise ValueError("base_model_name_or_path is empty")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConversionError(
            f"{name!r} is an adapter, but {CONFIG} does not name its base model "
            f"({type(error).__name__}: {error}). {ADVICE}"
        ) from error
    if config.get("megatron_config"):  # peft would import a module that the file names
        raise ConversionError(f"{name!r} is an adapter for Megatron, not supported. {ADVICE}")
    return Adapter(name, base, ADAPTER_TASKS.get(str(config.get("task_type"))), _shapes(source))


def _shapes(source: str | Path) -> dict[str, tuple[int, ...]]:
    path = optional_file(source, WEIGHTS)
    if path is None:
        raise ConversionError(
            f"{str(source)!r} is an adapter and should hold {WEIGHTS}; it does not. Pickled "
            f"weights are never read. {ADVICE}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            shapes = [(key, file.get_slice(key).get_shape()) for key in file.keys()]  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConversionError(f"{WEIGHTS} of {str(source)!r} is damaged: {error}.") from error
    return {key.removeprefix(_PREFIX): tuple(shape) for key, shape in shapes}


def merge(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """Merge an adapter into its base model, which is used up.

    Raises:
        ConversionError: peft is not there, the adapter is of a kind that cannot be merged, or its
            tensors are not those that this base model needs.
    """
    try:
        peft = require("peft", install="peft", purpose=f"merging the adapter {adapter.name!r}")
    except BackendUnavailable as error:
        raise ConversionError(f"{error}. Or do it elsewhere. {ADVICE}") from error
    try:
        wrapped: Any = peft.PeftModel.from_pretrained(model, adapter.name)
        needed = {key.removeprefix(_PREFIX) for key in peft.get_peft_model_state_dict(wrapped)}
        odd = sorted(needed.symmetric_difference(adapter.shapes))
        if odd:
            raise ValueError(f"tensors missing or without counterpart: {', '.join(odd[:5])}")
        merged: PreTrainedModel = wrapped.merge_and_unload(safe_merge=True)
    except Exception as error:  # whatever peft says of files that it does not take
        raise ConversionError(
            f"the adapter {adapter.name!r} cannot be merged into {adapter.base!r}: "
            f"{' '.join(str(error).split())} ({type(error).__name__}). {ADVICE}"
        ) from error
    return merged
