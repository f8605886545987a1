"""Options that several commands have, what a shell completes for them, and their early refusal.

All of it comes from modules that load no library, so that help, completion and errors of
arguments are fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from thex_hf._choices import FHE_MODES, ON_ERROR, REMOTE, check_data_file, is_file_name, one_of
from thex_hf._paths import user_path
from thex_hf.circuits.protocols import FLOODS, PROTOCOLS, RELU, RINGS, SOFTMAX


def offer(*names: object) -> Callable[[str], list[str]]:
    """What a shell completes: those names that begin as the word so far does."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in map(str, names) if name.startswith(incomplete)]

    return complete


def offer_backends(*others: str) -> Callable[[str], list[str]]:
    """As :func:`offer`, of the engines that are installed and of other names."""

    def complete(incomplete: str) -> list[str]:
        from thex_hf.backends.registry import list_backends

        return offer(*list_backends(), *others)(incomplete)

    return complete


def listed(names: Iterable[str]) -> str:
    """Names in a sentence, the last after an ``or``."""
    *first, last = names
    return f"{', '.join(first)} or {last}"


Protocol = Annotated[
    str | None,
    typer.Option(
        help=f"{listed(PROTOCOLS)}; what suits the model if none.",
        autocompletion=offer(*PROTOCOLS),
    ),
]
Protocols = Annotated[
    list[str] | None,
    typer.Option(help="Only this protocol; may be given again.", autocompletion=offer(*PROTOCOLS)),
]
Softmax = Annotated[
    str | None,
    typer.Option(help=f"{listed(SOFTMAX)}; the model's if none.", autocompletion=offer(*SOFTMAX)),
]
Relu = Annotated[
    str,
    typer.Option(
        help="client, or server for the last layer's on backend concrete.",
        autocompletion=offer(*RELU),
    ),
]
Ring = Annotated[
    int | None,
    typer.Option(help="Ring degree N for refresh and one-shot.", autocompletion=offer(*RINGS)),
]
Flood = Annotated[
    str | None,
    typer.Option(
        help=f"{listed(FLOODS)} noise on the logits of refresh, one-shot.",
        autocompletion=offer(*FLOODS),
    ),
]
Processes = Annotated[
    int | None, typer.Option(help="Processes of the server; all usable cores if none.")
]
Keys = Annotated[Path | None, typer.Option(help="Directory to keep keys in; in memory if none.")]
Backend = Annotated[
    str,
    typer.Option(
        help="Engine for --fhe execute; remote for a server elsewhere.",
        autocompletion=offer_backends(REMOTE),
    ),
]
complete_fhe = offer(*FHE_MODES)
complete_on_error = offer(*ON_ERROR)


def check_choices(
    backend: str,
    protocol: str | None,
    *,
    softmax: str | None = None,
    relu: str = "client",
    ring: int | None = None,
    flood: str | None = None,
    keys: Path | None = None,
    processes: int | None = None,
) -> None:
    """Refuse, before any library is loaded, what no model could make right.

    Raises:
        OptionError: an option is not on offer, or not with that protocol or backend.
        BackendUnavailable: no backend of that name.
    """
    choices = (
        ("protocol", protocol, PROTOCOLS),
        ("softmax", softmax, SOFTMAX),
        ("relu", relu, RELU),
        ("flood", flood, FLOODS),
    )
    for name, value, offered in choices:
        if value is not None:
            one_of(name, value, offered)
    from thex_hf.backends.registry import find_backend
    from thex_hf.options import RunOptions
    from thex_hf.processes import check_processes

    find_backend(backend)
    check_processes(processes)
    if protocol is not None:
        RunOptions(
            backend, protocol, softmax=softmax, relu=relu, ring=ring, flood=flood,
            processes=processes, keys=keys,
        ).check_engine()  # fmt: skip


def check_data(data: str | None) -> None:
    """Refuse the name of a file of labelled texts that is not there.

    Raises:
        ConversionError: no such file.
        OptionError: a home directory that nobody has.
    """
    if data is not None and is_file_name(data):
        check_data_file(user_path("data", data))
