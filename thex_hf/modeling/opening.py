"""The one door to a converted model: a folder or a Hub name, told apart, to a classifier."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id
from transformers import AutoTokenizer

from thex_hf.errors import ConversionError
from thex_hf.modeling.adapters import adapter_base
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.guards import check_head, refuse_misfit, unloadable
from thex_hf.modeling.modeling_thex_bert import CLASSIFIERS, ThexBertClassifier
from thex_hf.modeling.tasks import task_of


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
        check_head(next(iter(config.architectures or []), None), tuple(CLASSIFIERS))
        model: ThexBertClassifier = CLASSIFIERS[task_of(config)].from_pretrained(name).eval()
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


_PATHS = (".", "/", "~", os.sep)


def expand(name: str | os.PathLike[str]) -> str:
    """The name with ``~`` replaced by the home directory.

    Raises:
        ConversionError: it is neither a string nor a path.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise ConversionError(
            f"a model is named by its folder or its name on the Hub; got an object of type "
            f"{type(name).__name__}. Save it with its tokenizer (save_pretrained) and give that "
            "folder; layers of an adapter are merged first: merge_and_unload()."
        )
    text = os.fspath(name)
    return os.path.expanduser(text) if text.startswith("~") else text


def looks_local(name: str | os.PathLike[str]) -> bool:
    """Whether a name can only mean a place on this machine.

    So it is if something lies there, if it starts like a path, or if no model on the Hub can have
    that name (more than one slash, blanks, a backslash).
    """
    text = expand(name)
    if text.startswith(_PATHS) or _exists(text):
        return True
    try:
        validate_repo_id(text)
    except HFValidationError:
        return True
    return False


def check_name(name: str | os.PathLike[str]) -> str:
    """The name, if there can be a model behind it: no retries for what cannot be.

    Returns:
        The name with ``~`` expanded.

    Raises:
        ConversionError: it is a path and there is no folder, or it is a name on the Hub, the Hub
            is out of reach and the model is not in the cache.
    """
    text = expand(name)
    if looks_local(text):
        if not _is_folder(text):
            raise ConversionError(
                f"there is no model folder {text!r}"
                + (": that is a file" if _exists(text) else "")
                + ". Give the folder that holds config.json and the weights, or a name on the Hub."
            )
        return text
    cached = isinstance(try_to_load_from_cache(text, "config.json"), str)
    if not cached and not _reachable():
        raise ConversionError(
            f"{text!r} is no folder here, and as a name on the Hub it cannot be looked up: "
            f"{constants.ENDPOINT} cannot be reached and the model is not in the cache. Check "
            "the path, or the connection."
        )
    return text


def _exists(text: str) -> bool:
    return os.path.exists(text) if text and "\0" not in text else False


def _is_folder(text: str) -> bool:
    return _exists(text) and Path(text).is_dir()


def _reachable() -> bool:
    """Whether the Hub's name can be resolved; behind a proxy nobody here can tell."""
    if constants.HF_HUB_OFFLINE:
        return False
    parts = urlsplit(constants.ENDPOINT)
    if getproxies().get(parts.scheme) or getproxies().get("all"):
        return True
    try:
        socket.getaddrinfo(parts.hostname, parts.port or 443)
    except OSError:
        return False
    return True
