"""Merge adapters (LoRA and the like, of the library peft) into a copy of a model.

The encrypted encoder has one set of weights: what an adapter adds beside them would be left out.
peft need not be installed: its layers are known by what they can do.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn

from thex_hf.errors import ConversionError

Model = TypeVar("Model", bound=nn.Module)
ADAPTER_CONFIG = "adapter_config.json"
ADVICE = (
    "Merge it first: model = peft_model.merge_and_unload(), then "
    "thex_hf.calibrate(model, texts, tokenizer=tokenizer)."
)


def merged(model: Model) -> Model:
    """The model itself, or, where it has adapters, a copy with those that are active merged.

    Raises:
        ConversionError: an adapter that cannot be merged.
    """
    if not has_adapters(model):
        return model
    held: Any = copy.deepcopy(model)
    _merge_children(held, "")
    with torch.device("meta"):  # a fresh one, with nothing left of how the adapter was loaded
        fresh = type(held)(held.config)
    fresh.load_state_dict(held.state_dict(), assign=True)
    fresh.train(held.training)
    return cast(Model, fresh)


def has_adapters(model: nn.Module) -> bool:
    """Whether layers of adapters are in a model."""
    return any(_is_tuned(module) or _is_kept(module) for module in model.modules())


def adapter_base(folder: str | os.PathLike[str]) -> str | None:
    """The model that the adapter in a folder is for; None where there is no adapter.

    Raises:
        ConversionError: its description cannot be read.
    """
    path = Path(folder) / ADAPTER_CONFIG
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConversionError(
            f"{str(path)!r} should name the model of an adapter as base_model_name_or_path, and "
            f"cannot be read: {error}"
        ) from error


def refuse_ignored_adapter(folder: str | os.PathLike[str], model: nn.Module) -> None:
    """Refuse a model that was loaded from a folder with an adapter, and came without it.

    Raises:
        ConversionError: says what to do.
    """
    if (Path(folder) / ADAPTER_CONFIG).is_file() and not has_adapters(model):
        raise ConversionError(
            f"{str(folder)!r} holds an adapter ({ADAPTER_CONFIG}), and the model was loaded "
            "without it. Install peft, whose layers it is made of (pip install peft); or merge it "
            "where peft is: peft_model.merge_and_unload().save_pretrained(folder)."
        )


def refuse_unsaved_adapter(model: Any) -> None:
    """Refuse to save a model with adapters in it as if it were a whole one.

    Raises:
        ConversionError: nobody could load it.
    """
    if has_adapters(model) and not getattr(model, "_hf_peft_config_loaded", False):
        raise ConversionError(
            "this model has adapters in its layers; saved like this no one could load it. Save "
            "the adapter with peft_model.save_pretrained(folder), or the whole: "
            "model.merge_and_unload().save_pretrained(folder)."
        )


def unwrapped(model: Any) -> Any:
    """The model inside a ``PeftModel``, with the adapter's layers in it; else what came.

    Raises:
        ConversionError: the adapter is no layers but a prompt, which lives outside the model.
    """
    if not (hasattr(model, "peft_config") and hasattr(model, "get_base_model")):
        return model
    if getattr(model.active_peft_config, "is_prompt_learning", False):
        raise ConversionError(
            f"{type(model).__name__} with {type(model.active_peft_config).__name__} puts "
            "something in front of the text, which cannot be merged into weights "
            "(merge_and_unload). Train with an adapter that can, such as LoRA."
        )
    return model.get_base_model()


def adapters_mark(model: nn.Module) -> tuple[Any, ...]:
    """Which adapters are active and how strongly, to be compared before each text."""
    return tuple(
        (
            name,
            bool(getattr(module, "disable_adapters", False)),
            str(module.active_adapters),
            str(getattr(module, "scaling", None)),
        )
        for name, module in model.named_modules()
        if _is_tuned(module) or _is_kept(module)
    )


def _merge_children(module: nn.Module, path: str) -> None:
    for name, child in module.named_children():
        place = f"{path}{name}"
        if not (_is_tuned(child) or _is_kept(child)):
            _merge_children(child, f"{place}.")
            continue
        try:
            setattr(module, name, _merge_tuned(child) if _is_tuned(child) else _unwrap_kept(child))
        except Exception as error:  # peft's layers raise what they like
            raise ConversionError(
                f"the adapter in {place} ({type(child).__name__}) cannot be merged: {error} "
                f"{ADVICE}"
            ) from error


def _is_tuned(module: Any) -> bool:
    """A layer of peft around one of ours, such as ``lora.Linear``."""
    return hasattr(module, "get_base_layer") and hasattr(module, "merge")


def _is_kept(module: Any) -> bool:
    """A module that peft trains whole, such as the classifier, with the old one beside it."""
    return hasattr(module, "unload_and_optionally_merge_module")


def _merge_tuned(layer: Any) -> nn.Module:
    if layer.disable_adapters:
        if layer.merged:
            layer.unmerge()
    else:
        layer.merge(safe_merge=True)
    base: nn.Module = layer.get_base_layer()
    return base


def _unwrap_kept(module: Any) -> nn.Module:
    if module.disable_adapters:
        return module.original_module  # type: ignore[no-any-return]
    layer: nn.Module = module.unload_and_optionally_merge_module(
        merge=True, safe_merge=True, adapter_names=None
    )
    return layer
