"""Options of a call: which are on offer, and values that transformers would take as they come."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch

from thex_hf._choices import one_of
from thex_hf.errors import OptionError
from thex_hf.options import NAMES
from thex_hf.tokens.windows import WINDOW_OPTIONS

FUNCTIONS = ("sigmoid", "softmax", "none")
CALL_OPTIONS = (
    "fhe",
    "agreement",
    "on_error",
    "top_k",
    "function_to_apply",
    "truncation",
    "padding",
    "max_length",
    "add_special_tokens",
    *WINDOW_OPTIONS,
)
TOKEN_OPTIONS = (
    "fhe",
    "agreement",
    "on_error",
    "aggregation_strategy",
    "ignore_labels",
    "is_split_into_words",
    "delimiter",
    "offset_mapping",
    "truncation",
    "window",
    "stride",
)


def yes_or_no(name: str, value: Any) -> bool:
    """A truth value.

    Raises:
        OptionError: it is something else, which Python might take for one.
    """
    if isinstance(value, bool):
        return value
    raise OptionError(f"{name} must be True or False, got {value!r}")


def whole_number(name: str, value: Any) -> int:
    """A whole number of 1 or more.

    Raises:
        OptionError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise OptionError(f"{name} must be a whole number, 1 or more, got {value!r}")


def check_machinery(options: Mapping[str, Any]) -> None:
    """Refuse what cannot be done with ``batch_size``, ``num_workers`` and ``device``.

    Raises:
        OptionError: says which, and what to do.
    """
    if options.get("batch_size") is not None:
        whole_number("batch_size", options["batch_size"])
    if options.get("num_workers") not in (None, 0):
        raise OptionError(
            f"num_workers={options['num_workers']!r}: texts are tokenised in this process; leave "
            f"it out. To compute on several texts at once give batch_size"
        )
    if options.get("device") is not None:
        _check_device(options["device"])


def _check_device(device: Any) -> None:
    """Refuse a device that is not there; a negative number is the CPU."""
    if isinstance(device, int) and not isinstance(device, bool):
        if device < 0:
            return
        there = torch.accelerator.current_accelerator() if hasattr(torch, "accelerator") else "cuda"
        device = None if there is None else f"{torch.device(there).type}:{device}"
    try:
        if device is None or torch.device(device).type == "meta":
            raise RuntimeError("there is none here")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        why = str(error).strip().splitlines()[0]
        raise OptionError(
            f"the device asked for cannot be used: {why}; leave device out, or give 'cpu'"
        ) from error


def check_mode(fhe: str, agreement: bool) -> None:
    """Refuse to compare the clear model with itself.

    Raises:
        OptionError: says so.
    """
    if fhe == "disable" and agreement:
        raise OptionError(
            "agreement compares with the clear model, which is what fhe='disable' runs; give "
            "agreement=False, or another mode"
        )


def check_text_options(options: dict[str, Any], longest: int) -> None:
    """Refuse values that mean nothing; the name of a function is put in lower case.

    Args:
        options: of one call, or of the constructor.
        longest: the most tokens that a text can have.

    Raises:
        OptionError: says which one, and what is on offer.
    """
    if options.get("top_k") is not None:
        whole_number("top_k", options["top_k"])
    function = options.get("function_to_apply")
    if function is not None:
        name = getattr(function, "name", function)
        name = name.lower() if isinstance(name, str) else name
        options["function_to_apply"] = one_of("function_to_apply", name, FUNCTIONS)
    most = options.get("max_length")
    if isinstance(most, int) and most > longest:
        raise OptionError(f"max_length can be {longest} at most, the circuit's length, got {most}")


def check_token_options(options: Mapping[str, Any]) -> None:
    """As :func:`check_text_options`, for the options of a classifier of tokens.

    Raises:
        OptionError: says which one, and what is on offer.
    """
    if options.get("is_split_into_words") is not None:
        yes_or_no("is_split_into_words", options["is_split_into_words"])
    ignored = options.get("ignore_labels")
    good = isinstance(ignored, list | tuple | set) and all(isinstance(x, str) for x in ignored)
    if ignored is not None and not good:
        raise OptionError(f"ignore_labels must be a list of label names, got {ignored!r}")
    if options.get("delimiter") is not None and not isinstance(options["delimiter"], str):
        raise OptionError(f"delimiter must be a string, got {options['delimiter']!r}")


HINTS = {
    "return_all_scores": "return_all_scores is gone; use top_k=None for all scores",
    "grouped_entities": "grouped_entities is gone; use aggregation_strategy='simple'",
    "ignore_subwords": "ignore_subwords is gone; use aggregation_strategy='first'",
    "pool": (
        "pool is for classifiers of texts; where tokens are classified, a word is taken from the "
        "window where it has most context: leave it out"
    ),
}


def refuse_unknown(options: dict[str, Any], offered: tuple[str, ...], *, loading: bool) -> None:
    """Refuse options that are misspelt, or that were removed from transformers.

    Args:
        options: what was given.
        offered: what a call of the pipeline takes.
        loading: also allow what only the constructor takes.

    Raises:
        OptionError: naming the option and the nearest one on offer.
    """
    allowed = offered + (NAMES if loading else ())
    for name in options:
        if name in allowed:
            continue
        if name in HINTS:
            raise OptionError(HINTS[name])
        if name in NAMES:
            raise OptionError(f"{name} is set once, in pipeline(...), not at a call")
        near = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise OptionError(f"unknown option {name!r}: {hint}options are {', '.join(allowed)}")
