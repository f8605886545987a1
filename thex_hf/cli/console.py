"""What the commands share: arguments and output of a terminal, JSON, a model's folder."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from thex_hf._paths import user_path
from thex_hf.errors import ConversionError, InputError


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


Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


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
