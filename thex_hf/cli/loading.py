"""Load a THE-X model for a subcommand, with our own words when that fails."""

from __future__ import annotations

from typing import Any

from thex_hf.errors import ConversionError


def load_model(name: str | None, form: str = "the-x") -> tuple[Any, Any]:
    """Model and tokenizer of a folder or Hub name; the bundled checkpoint of ``form`` when None.

    Raises:
        ConversionError: there is no THE-X model of that name, or the Hub is out of reach.
    """
    import transformers

    import thex_hf

    name = name or thex_hf.bundled_checkpoint(form)
    try:
        model = thex_hf.ThexBertForSequenceClassification.from_pretrained(name)
        return model, transformers.AutoTokenizer.from_pretrained(name)
    except OSError as error:
        first = str(error).strip().splitlines()[0]
        raise ConversionError(
            f"cannot load {name!r}: {first} Give a folder or a Hub name of a model made by "
            f"thex-hf convert; without network only folders and cached models load."
        ) from error
