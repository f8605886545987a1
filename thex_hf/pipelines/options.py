"""Options of the pipeline: what is on offer, and what to say to anything else."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from thex_hf.circuits.dispatch import FORMS, check_form
from thex_hf.errors import ConversionError, OptionError, PlanError

FHE_MODES = ("execute", "simulate", "disable")
PROTOCOLS = tuple(FORMS)
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
)
LOAD_OPTIONS = (
    "backend",
    "protocol",
    "keys",
    "softmax",
    "relu",
    "ring",
    "flood",
    "processes",
    "url",
    "server_token",
    "verify",
)


def one_of(name: str, value: Any, offered: Iterable[str]) -> str:
    """Return ``value`` if it is on offer.

    Raises:
        OptionError: it is not; names the nearest one.
    """
    choices = list(offered)
    if isinstance(value, str) and value in choices:
        return value
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"{name} must be one of {', '.join(choices)}, got {value!r}{hint}")


def choose_protocol(value: Any, form: str) -> str:
    """The protocol asked for, or the one that suits a model of ``form``.

    Raises:
        OptionError: it is unknown, or cannot serve that form.
    """
    if value is None:
        fitting = [name for name, served in FORMS.items() if served == form]
        if not fitting:
            raise ConversionError(
                f"no protocol runs a model that is {form}; finish the conversion: thex-hf convert"
            )
        return fitting[0]
    protocol = one_of("protocol", value, PROTOCOLS)
    try:
        check_form(form, protocol)
    except PlanError as error:
        raise OptionError(str(error)) from error
    return protocol


HINTS = {
    "return_all_scores": "return_all_scores is gone; use top_k=None for all scores",
    "grouped_entities": "grouped_entities is gone; use aggregation_strategy='simple'",
    "ignore_subwords": "ignore_subwords is gone; use aggregation_strategy='first'",
    "stride": (
        "stride is not supported: windows of a long text would be requests of their own. Split the "
        "text into sentences, or pass truncation=True to classify its beginning"
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
    allowed = offered + (LOAD_OPTIONS if loading else ())
    for name in options:
        if name in allowed:
            continue
        if name in HINTS:
            raise OptionError(HINTS[name])
        if name in LOAD_OPTIONS:
            raise OptionError(f"{name} is set once, in pipeline(...), not at a call")
        near = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise OptionError(f"unknown option {name!r}: {hint}options are {', '.join(allowed)}")
