"""Keep an unfinished conversion on disk, so that a killed one goes on where it was.

A checkpoint holds the weights after every finished stage, the source's answers to the training
texts and, now and then, everything a training loop needs to go on exactly: weights, moments,
averages and random states. All of it is safetensors and JSON. The folder lies beside the output
folder and goes when the output is there.

No stale work is taken for what is asked now: a path or a name says nothing, since the model behind
it may have been trained again. So all that was loaded is digested, number by number.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.options import ConversionOptions
from thex_hf.conversion.sources import Source
from thex_hf.conversion.training.batches import Encoded
from thex_hf.errors import ConversionError

logger = logging.get_logger(__name__)
Tensors = dict[str, Tensor]
SUFFIX = ".partial"
BEGUN = "begun.json"
BETWEEN_SAVES = 60.0
"""Seconds between two savings of a training loop's state."""

OUTDATED = {
    "weights": "the source has changed since",
    "tokens": "its texts are tokenised otherwise by now",
    "version": "another version of thex_hf began it",
}
"""Facts that cannot come back; a checkpoint that differs in nothing else is dropped."""

RECIPE_VERSION = 5
"""Raised when the stages change, so that work begun by earlier ones is dropped."""

SETTINGS_WITHOUT_EFFECT = ("overwrite", "restart")
"""Options that change nothing in the result."""

_PLACES = ("_name_or_path", "_commit_hash", "transformers_version", "name_or_path")


def checkpoint_folder(output: Path) -> Path:
    """Where the unfinished conversion to ``output`` is kept."""
    return output.with_name(output.name + SUFFIX)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds an unfinished conversion, or nothing yet."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return BEGUN in names or names <= {f"{BEGUN}.tmp"}


@dataclass(frozen=True)
class Checkpoint:
    """An unfinished conversion on disk; without a folder nothing is kept.

    Args:
        folder: where it is kept, or None.
        writes: whether this process writes (the first of several does).
    """

    folder: Path | None = None
    writes: bool = True

    @classmethod
    def open(
        cls, folder: Path, facts: Mapping[str, Any], *, restart: bool, writes: bool
    ) -> Checkpoint:
        """Begin, or go on with what is there.

        What can never be gone on with is dropped with a warning: the same source has other
        weights by now (``weights``, ``tokens``), or another version began it (``version``).

        Args:
            folder: where it is kept; made if need be.
            facts: what decides the result, as JSON values by name; must be those of the first run.
            restart: drop what is there.
            writes: whether this process writes.

        Raises:
            ConversionError: what is there was begun with other facts, is damaged, or cannot be
                dropped.
        """
        digests = {name: json_digest(value) for name, value in facts.items()}
        record = folder / BEGUN
        begun = _read(record) if record.is_file() and not restart else None
        changed = [] if begun is None else [n for n in digests if begun.get(n) != digests[n]]
        if "weights" not in changed and "source" in changed:
            changed.remove("source")  # the same model by another path
        if changed and not set(changed) <= set(OUTDATED):
            raise ConversionError(
                f"{str(folder)!r} holds an unfinished conversion with other "
                f"{', '.join(name for name in changed if name not in OUTDATED)}. Repeat that "
                "command to go on with it, or pass --restart (restart=True) to drop it."
            )
        if begun is not None and not changed:
            logger.warning("going on with the unfinished conversion in %s", folder)
        elif writes:
            if changed:
                reasons = " and ".join(OUTDATED[name] for name in changed)
                logger.warning("dropping the unfinished conversion in %s: %s", folder, reasons)
            if changed or restart:
                _drop(folder)
            folder.resolve().mkdir(parents=True, exist_ok=True)
            _write(record, digests)
        return cls(folder, writes)

    def child(self, name: str) -> Checkpoint:
        """A part of this conversion with stages of its own."""
        if self.folder is None:
            return self
        if self.writes:
            (self.folder / name).mkdir(exist_ok=True)
        return Checkpoint(self.folder / name, self.writes)

    def discard(self) -> None:
        """Remove the folder."""
        if self.folder is not None and self.writes:
            shutil.rmtree(self.folder.resolve(), ignore_errors=True)

    def has_stage(self, stage: str) -> bool:
        """Whether the weights, or other tensors, that a finished stage left are there."""
        return self.folder is not None and self._path(stage).is_file()

    def load_stage(self, stage: str, model: nn.Module) -> bool:
        """Load the weights that a finished stage left; False if it did not finish."""
        if not self.has_stage(stage):
            return False
        model.load_state_dict(self._load(stage), strict=True)
        return True

    def save_stage(self, stage: str, model: nn.Module) -> None:
        """Keep the weights after a finished stage, and forget the way there."""
        if self.folder is None or not self.writes:
            return
        _save({k: v.detach().cpu() for k, v in model.state_dict().items()}, self._path(stage))
        for path in self.folder.glob("inside-*"):
            path.unlink()

    def load_tensors(self, name: str) -> Tensors | None:
        """The tensors that :meth:`save_tensors` kept, or None."""
        return self._load(name) if self.has_stage(name) else None

    def save_tensors(self, name: str, tensors: Tensors) -> None:
        """Keep tensors that are no weights, such as answers, under the name of what made them."""
        if self.folder is not None and self.writes:
            _save(tensors, self._path(name))

    def save_loop(self, stage: str, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        """Keep the state of a training loop."""
        if self.folder is None or not self.writes:
            return
        # the tensors carry the step too: a kill between the two writes is noticed
        step = torch.tensor(facts["step"])
        _save({**tensors, "step": step}, self._path(f"inside-{stage}"))
        _write(self.folder / f"inside-{stage}.json", dict(facts))

    def load_loop(self, stage: str) -> tuple[Tensors, dict[str, Any]] | None:
        """The state that :meth:`save_loop` kept, or None."""
        if self.folder is None:
            return None
        record = self.folder / f"inside-{stage}.json"
        if not record.is_file():
            return None
        facts, tensors = _read(record), self._load(f"inside-{stage}")
        if int(tensors.pop("step")) != facts["step"]:
            return None
        return tensors, facts

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.safetensors"

    def _load(self, name: str) -> Tensors:
        path = self._path(name)
        try:
            tensors: Tensors = load_file(path)
        except Exception as error:
            raise _damaged(path, error) from error
        return tensors


def _drop(folder: Path) -> None:
    """Remove all that is in a folder, or say that it cannot be: none of it may be used.

    Raises:
        ConversionError: something stays.
    """
    if not folder.exists():
        return
    try:
        shutil.rmtree(folder.resolve())
    except OSError as error:
        raise ConversionError(
            f"{str(folder)!r} holds an unfinished conversion that cannot be removed: {error}. "
            "Remove it yourself, or choose another output."
        ) from error


def _save(tensors: Tensors, path: Path) -> None:
    """Write beside the place and move there: a kill leaves the old file or the new one."""
    part = path.with_suffix(".tmp")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    os.replace(part, path)


def _write(path: Path, values: Mapping[str, Any]) -> None:
    part = path.with_suffix(".json.tmp")
    part.write_text(json.dumps(values), encoding="utf-8")
    os.replace(part, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return values


def _damaged(path: Path, error: Exception) -> ConversionError:
    return ConversionError(
        f"{path.name!r} in the unfinished conversion is damaged ({error}); pass --restart "
        "(restart=True) to begin again."
    )


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
