"""What the commands share: options, their completion and early refusal, and output of a terminal.

All of it comes from modules that load no library, so that help, completion and errors of
arguments are fast.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from thex_hf._choices import (
    FHE_MODES,
    ON_ERROR,
    POOLS,
    REMOTE,
    check_data_file,
    is_file_name,
    one_of,
)
from thex_hf._paths import user_path
from thex_hf.circuits.protocols import FLOODS, PROTOCOLS, RELU, RINGS, SOFTMAX
from thex_hf.errors import ConversionError, InputError, OptionError


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
WeightsMemory = Annotated[
    float | None,
    typer.Option(
        min=0, help="GB that encoded weights may take, in all; half of the free memory if none."
    ),
]
Keys = Annotated[Path | None, typer.Option(help="Directory to keep keys in; in memory if none.")]
Backend = Annotated[
    str,
    typer.Option(
        help="Engine for --fhe execute; remote for a server elsewhere.",
        autocompletion=offer_backends(REMOTE),
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Window = Annotated[
    int | None,
    typer.Option(
        min=1, help="Classify long texts in windows of at most so many tokens, one request each."
    ),
]
Stride = Annotated[
    int | None,
    typer.Option(min=0, help="Tokens that a window shares with the one before; 0 if none."),
]
Pool = Annotated[
    str | None,
    typer.Option(
        help=f"Of the logits of windows, {listed(POOLS)}; mean if none.",
        autocompletion=offer(*POOLS),
    ),
]

complete_fhe = offer(*FHE_MODES)
complete_on_error = offer(*ON_ERROR)


def given_windows(window: int | None, stride: int | None, pool: str | None) -> dict[str, Any]:
    """The options about windows that were given.

    Raises:
        OptionError: ``--stride`` or ``--pool`` without ``--window``, or no such pool.
    """
    given = {"window": window, "stride": stride, "pool": pool}
    found = {name: value for name, value in given.items() if value is not None}
    if found and window is None:
        raise OptionError(f"--{next(iter(found))} goes with --window: give both, or neither")
    if pool is not None:
        one_of("pool", pool, POOLS)
    return found


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
    weights_memory: float | None = None,
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
            processes=processes, weights_memory=weights_memory, keys=keys,
        ).check_engine()  # fmt: skip


def check_data(data: str | None) -> None:
    """Refuse the name of a file of labelled texts that is not there.

    Raises:
        ConversionError: no such file.
        OptionError: a home directory that nobody has.
    """
    if data is not None and is_file_name(data):
        check_data_file(user_path("data", data))


def speak_plainly(*streams: Any) -> None:
    r"""Have streams write what they cannot show as ``\u...``, instead of failing after the work."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments with bytes that are no text.

    Raises:
        InputError: says which argument.
    """
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            shown = argument.encode("ascii", "backslashreplace").decode("ascii")
            raise InputError(
                f"argument {number} ({shown[:40]!r}) is not UTF-8; set LANG=C.UTF-8 if the "
                f"terminal is, or send the text to: thex-hf classify -"
            ) from None


def show_json(value: Any) -> None:
    """Print one JSON object on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def megabytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB"


def model_folder(name: str) -> Path:
    """A model's folder; one on the Hub is downloaded, its encoder's weights included.

    Raises:
        ConversionError: there is neither, or the Hub is out of reach.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    place = user_path("model", name)
    if place.is_dir():
        return place
    try:
        folder = snapshot_download(name, allow_patterns=["*.json", "*.safetensors"])
    except (OSError, HFValidationError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConversionError(
            f"{name!r} is no folder and not to be had from the Hub: {first}"
        ) from error
    return Path(folder)
