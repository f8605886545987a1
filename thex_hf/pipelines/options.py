"""Modes and protocols on offer, and what to say to anything else."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from thex_hf.circuits.dispatch import FORMS, check_form
from thex_hf.errors import ConversionError, OptionError, PlanError

FHE_MODES = ("execute", "simulate", "disable")
PROTOCOLS = tuple(FORMS)


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
