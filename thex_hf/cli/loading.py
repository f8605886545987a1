"""Load a THE-X model for a subcommand, with our own words when that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thex_hf.errors import ConversionError


def load_model(name: str | None, form: str = "the-x") -> tuple[Any, Any]:
    """Model and tokenizer of a folder or Hub name; the bundled checkpoint of ``form`` when None.

    Raises:
        ConversionError: there is no THE-X model of that name, or the Hub is out of reach.
    """
    import transformers

    import thex_hf
    from thex_hf.modeling.guards import unloadable

    name = name or thex_hf.bundled_checkpoint(form)
    try:
        model = thex_hf.ThexBertForSequenceClassification.from_pretrained(name)
        return model, transformers.AutoTokenizer.from_pretrained(name)
    except OSError as error:
        raise unloadable(name, error) from error


def model_folder(name: str) -> Path:
    """A model's folder; one on the Hub is downloaded, its encoder's weights included.

    Raises:
        ConversionError: there is neither, or the Hub is out of reach.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    if Path(name).is_dir():
        return Path(name)
    try:
        found = snapshot_download(name, allow_patterns=["*.json", "*.safetensors"])
    except (OSError, HFValidationError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConversionError(
            f"{name!r} is no folder and not to be had from the Hub: {first}"
        ) from error
    return Path(found)
