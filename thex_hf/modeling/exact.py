"""Refuse a model with anything in it that the encrypted encoder would leave out.

The export reads the weights of the modules it knows. A wrapped layer, a hook or a further
parameter changes what the torch model answers and is none of these.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from thex_hf.errors import ConversionError

HOOKS = ("_forward_hooks", "_forward_pre_hooks")
OWN = ("forward", "classify", "read", "embed")
WRAPPED = ("_hf_hook", "_original_forward")
"""Marks of accelerate's wrappers, which move tensors or cast them and change no function."""


def refuse_foreign(model: Any) -> None:
    """Compare a classifier with a fresh one of its configuration, module by module.

    Args:
        model: a THE-X classifier, adapters merged.

    Raises:
        ConversionError: says which module or parameter is not as it should be.
    """
    kind = _own_class(model)
    with torch.device("meta"):
        fresh = kind(copy.deepcopy(model.config))
    wanted, found = dict(fresh.named_modules()), dict(model.named_modules())
    for name, module in found.items():
        if name not in wanted:
            raise _foreign(f"has a module {name} ({type(module).__name__}) more than it should")
        _check_module(name, module, wanted[name])
    missing = wanted.keys() - found.keys()
    if missing:
        raise _foreign(f"lacks {', '.join(sorted(missing))}")
    heads = {layer.attention.heads for layer in model.thex_bert.layers}
    if heads - {model.config.num_attention_heads}:
        raise _foreign(
            f"has {sorted(heads)} attention heads and num_attention_heads "
            f"{model.config.num_attention_heads} in its configuration"
        )


def structure_mark(model: nn.Module) -> tuple[Any, ...]:
    """Modules by kind, and whether something was put on them, to be compared before each text."""
    return tuple(
        (name, type(module), "forward" in vars(module), *(len(getattr(module, k)) for k in HOOKS))
        for name, module in model.named_modules()
    )


def _own_class(model: Any) -> Any:
    """The class of ours that a model is of, or is a mere heir of."""
    kind = next(k for k in type(model).__mro__ if k.__module__.startswith("thex_hf."))
    for name in OWN:
        if getattr(type(model), name) is not getattr(kind, name):
            raise _foreign(f"is a {type(model).__name__} with a {name}() of its own")
    return kind


def _check_module(name: str, module: nn.Module, wanted: nn.Module) -> None:
    place = name or "the model"
    if isinstance(wanted, nn.Dropout) and isinstance(module, nn.Dropout | nn.Identity):
        return
    if name and type(module) is not type(wanted):
        raise _foreign(
            f"has a {type(module).__module__}.{type(module).__name__} in {name}, which should be a "
            f"{type(wanted).__name__}"
        )
    if any(not _harmless(hook) for kind in HOOKS for hook in getattr(module, kind).values()):
        raise _foreign(f"has a forward hook on {place}, which may change values")
    if "forward" in vars(module) and not any(hasattr(module, mark) for mark in WRAPPED):
        raise _foreign(f"has another forward() in {place}")
    own = {**module._parameters, **module._buffers}
    for entry, tensor in {**wanted._parameters, **wanted._buffers}.items():
        _check_tensor(f"{name}.{entry}", own.pop(entry, None), tensor)
    more = [entry for entry, tensor in own.items() if tensor is not None]
    if more:
        raise _foreign(f"has {', '.join(more)} in {place}, which no encrypted encoder reads")


def _harmless(hook: Any) -> bool:
    """Whether a hook is that of gradient checkpointing, which stays on after a training."""
    return str(getattr(hook, "__name__", "")).startswith("make_inputs_require_grad")


def _check_tensor(name: str, found: Tensor | None, wanted: Tensor | None) -> None:
    if (found is None) != (wanted is None):
        raise _foreign(f"should {'not ' if wanted is None else ''}have {name}")
    if found is None or wanted is None:
        return
    if found.is_meta:
        raise _foreign(f"has no values in memory for {name} (it is on the meta device)")
    if type(found.data) is not Tensor or not found.is_floating_point():
        raise _foreign(f"has a {type(found.data).__name__} of {found.dtype} as {name} (quantised?)")
    if found.shape != wanted.shape:
        raise _foreign(
            f"has {name} of shape {tuple(found.shape)}, and its configuration says "
            f"{tuple(wanted.shape)}"
        )


def _foreign(what: str) -> ConversionError:
    return ConversionError(
        f"the encrypted encoder runs THE-X models as thex-hf convert makes them, and this one "
        f"{what}: the encrypted answer would not be the model's. Undo it: merge_and_unload() for "
        f"adapters, remove hooks, dequantise; then calibrate again."
    )
