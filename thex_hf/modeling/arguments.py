"""Arguments of a model's call: what is refused, and what the configuration decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from thex_hf.errors import InputError, OptionError


def refuse_arguments(given: Mapping[str, Any]) -> None:
    """Refuse arguments that no THE-X model can honour; None and False ask for nothing.

    Raises:
        OptionError: names the first one.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise OptionError(
                f"a THE-X model cannot honour {name}; got {_short(value)}. Leave it out."
            )


def wanted(given: bool | None, config: Any, name: str) -> bool:
    """Whether a call wants something: it says so, or else the configuration."""
    return bool(getattr(config, name) if given is None else given)


def check_mask(mask: Tensor | None, stream: Tensor) -> Tensor:
    """The attention mask as numbers of the stream's type; all ones if there is none.

    Args:
        mask: zeros and ones, ``(batch, seq)``.
        stream: ``(batch, seq, d)``.

    Raises:
        InputError: another shape.
    """
    if mask is None:
        return stream.new_ones(stream.shape[:2])
    if mask.shape != stream.shape[:2]:
        raise InputError(
            f"attention_mask should have shape {tuple(stream.shape[:2])}, one zero or one for each "
            f"token; got {tuple(mask.shape)}."
        )
    return mask.to(stream.dtype)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return type(value).__name__ if not isinstance(value, bool | int | float | str) else repr(value)
