"""The folder of a model that a subcommand is given by name."""

from __future__ import annotations

from pathlib import Path

from thex_hf._paths import user_path
from thex_hf.errors import ConversionError


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
        found = snapshot_download(name, allow_patterns=["*.json", "*.safetensors"])
    except (OSError, HFValidationError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConversionError(
            f"{name!r} is no folder and not to be had from the Hub: {first}"
        ) from error
    return Path(found)
