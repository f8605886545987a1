"""Digests of all that decides a conversion: source, texts, options, versions.

A path or a name says nothing, since the model behind it may have been trained again. So all that
was loaded is digested, number by number.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from tokenizers import AddedToken
from torch import Tensor
from transformers import PreTrainedModel

from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.options import ConversionOptions
from thex_hf.conversion.sources import Source
from thex_hf.conversion.training.batches import Encoded

RECIPE_VERSION = 5
"""Raised when the stages change, so that work begun by earlier ones is dropped."""

SETTINGS_WITHOUT_EFFECT = ("overwrite", "restart")
"""Options that change nothing in the result."""

_PLACES = ("_name_or_path", "_commit_hash", "transformers_version", "name_or_path")


def package_facts() -> list[Any]:
    """What of this package decides the result."""
    return [str(importlib.import_module("thex_hf").__version__), RECIPE_VERSION]


def source_digest(source: Source) -> str:
    """Digest of a loaded source: configuration, weights and tokenizer; not where it lies."""
    digest = hashlib.sha256()
    config = {k: v for k, v in source.model.config.to_dict().items() if k not in _PLACES}
    facts = [source.task, source.pooling, source.headless, type(source.model).__name__, config]
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    digest.update(model_digest(source.model).encode())
    digest.update(tokenizer_digest(source.tokenizer).encode())
    return digest.hexdigest()


def model_digest(model: PreTrainedModel) -> str:
    """Digest of names, shapes, types and bytes of all tensors."""
    state: Mapping[str, Tensor] = model.state_dict()
    return _tensors_digest((name, state[name]) for name in sorted(state))


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of what a tokenizer does with texts."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items())
    settings = {
        name: _plain(value)
        for name, value in tokenizer.init_kwargs.items()
        if name not in _PLACES and not name.endswith("_file")
    }
    facts = [type(tokenizer).__name__, rules, settings, tokenizer.padding_side]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def texts_digest(texts: Iterable[LabelledTexts]) -> str:
    """Digest of texts, pairs, words, labels, their names and kind."""
    names = ("texts", "pairs", "words", "labels", "label_names", "kind")
    return json_digest([[getattr(part, name) for name in names] for part in texts])


def encoded_digest(data: Encoded) -> str:
    """Digest of tokens, segments, targets and spans."""
    facts = [data.kind, data.outside, data.pad_id, data.mask_id, len(data)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    labels = (data.labels,) if isinstance(data.labels, Tensor) else data.labels
    spans = () if data.spans is None else (data.spans,)
    for name, parts in (
        ("ids", data.ids),
        ("segments", data.segments),
        ("labels", labels),
        ("spans", spans),
    ):
        digest.update(_tensors_digest((name, part) for part in parts).encode())
    return digest.hexdigest()


def deciding_options(options: ConversionOptions, *without: str) -> dict[str, Any]:
    """The options that decide the result, as JSON values.

    Args:
        options: all of them.
        *without: further names to leave out.
    """
    left_out = {*SETTINGS_WITHOUT_EFFECT, *without}
    return {k: v for k, v in asdict(options).items() if k not in left_out}


def json_digest(facts: Any) -> str:
    """Digest of JSON values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _tensors_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}:".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A setting of a tokenizer as JSON values; objects by their type only."""
    if isinstance(value, AddedToken):
        flags = ("content", "lstrip", "rstrip", "normalized", "single_word", "special")
        return {name: getattr(value, name) for name in flags}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return type(value).__name__
