"""The one door to a converted model: from a folder or a Hub name to a classifier."""

from __future__ import annotations

import os
from typing import Any

from transformers import AutoTokenizer

from thex_hf.errors import ConversionError
from thex_hf.modeling.adapters import adapter_base
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.guards import check_head, refuse_misfit, unloadable
from thex_hf.modeling.modeling_thex_bert import (
    ThexBertClassifier,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
)
from thex_hf.modeling.tasks import task_of

KINDS: dict[str, type[ThexBertClassifier]] = {
    "text-classification": ThexBertForSequenceClassification,
    "token-classification": ThexBertForTokenClassification,
}
"""Our classifiers, by the Hub's name of their task."""


def open_model(name: str | os.PathLike[str]) -> ThexBertClassifier:
    """A converted classifier of texts or of tokens, whichever it is, in evaluation mode.

    Args:
        name: folder or Hub name; an adapter's folder gives its model with the adapter in it.

    Raises:
        ConversionError: there is none, it is another kind of model, or one without a classifier,
            or the Hub is out of reach.
    """
    try:
        alone = not os.path.isfile(os.path.join(name, "config.json"))
        base = adapter_base(name) if alone else None
        config = ThexBertConfig.from_pretrained(base or name)
        check_head(next(iter(config.architectures or []), None), tuple(KINDS))
        model: ThexBertClassifier = KINDS[task_of(config)].from_pretrained(name).eval()
        refuse_misfit(model)
        return model
    except OSError as error:
        raise unloadable(os.fspath(name), error) from error


def open_tokenizer(name: str | os.PathLike[str], vocabulary: int) -> Any:
    """The tokenizer beside a model.

    Args:
        name: folder or Hub name.
        vocabulary: rows of the model's word embeddings.

    Raises:
        ConversionError: there is none, it knows no words, or more than the model.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, ImportError, TypeError, KeyError) as error:
        raise _no_tokenizer(os.fspath(name), " ".join(str(error).split())) from error
    check_tokenizer(tokenizer, vocabulary, os.fspath(name))
    return tokenizer


def check_tokenizer(tokenizer: Any, vocabulary: int, name: str) -> None:
    """Refuse a tokenizer that cannot be a model's.

    Without its files transformers makes one that knows no words: any two texts of as many words
    would be the same to the model.

    Raises:
        ConversionError: it knows special tokens only, or has more tokens than the model.
    """
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise _no_tokenizer(name, "it would know special tokens only.")
    if len(tokenizer) > vocabulary:
        raise ConversionError(
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens and the model has "
            f"embeddings for {vocabulary}: they do not belong together."
        )


def _no_tokenizer(name: str, why: str) -> ConversionError:
    return ConversionError(
        f"{name!r} should hold a tokenizer (tokenizer.json, or vocab.txt and "
        "tokenizer_config.json), but none can be loaded. Save it there: "
        f"tokenizer.save_pretrained(folder). The reason given was: {why}"
    )
