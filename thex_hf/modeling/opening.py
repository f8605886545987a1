"""The one door to a converted model: from a folder or a Hub name to a classifier."""

from __future__ import annotations

import os
from typing import Any

from transformers import AutoTokenizer

from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.guards import check_head, unloadable
from thex_hf.modeling.modeling_thex_bert import (
    ThexBertClassifier,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
)
from thex_hf.modeling.task_names import task_of

KINDS: dict[str, type[ThexBertClassifier]] = {
    "text-classification": ThexBertForSequenceClassification,
    "token-classification": ThexBertForTokenClassification,
}
"""Our classifiers, by the Hub's name of their task."""


def open_model(name: str | os.PathLike[str]) -> ThexBertClassifier:
    """A converted classifier of texts or of tokens, whichever it is, in evaluation mode.

    Args:
        name: folder or Hub name.

    Raises:
        ConversionError: there is none, it is another kind of model, or one without a classifier,
            or the Hub is out of reach.
    """
    try:
        config = ThexBertConfig.from_pretrained(name)
        check_head(next(iter(config.architectures or []), None), tuple(KINDS))
        model: ThexBertClassifier = KINDS[task_of(config)].from_pretrained(name).eval()
        return model
    except OSError as error:
        raise unloadable(os.fspath(name), error) from error


def open_tokenizer(name: str | os.PathLike[str]) -> Any:
    """The tokenizer beside a model.

    Args:
        name: folder or Hub name.

    Raises:
        ConversionError: there is none, or the Hub is out of reach.
    """
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise unloadable(os.fspath(name), error, what="the tokenizer of ") from error
