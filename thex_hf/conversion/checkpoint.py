"""Keep an unfinished conversion on disk, so that a killed one goes on where it was.

A checkpoint holds the weights after every finished stage, the source's answers to the training
texts and, now and then, everything a training loop needs to go on exactly: weights, moments,
averages and random states. All of it is safetensors and JSON. The folder lies beside the output
folder and goes when the output is there. After a divergence it keeps the stages that were finished
before, for a conversion with other options that do not touch them.

No stale work is taken for what is asked now: all that decides the result is known by its digest
(:mod:`thex_hf.conversion.digests`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import logging

from thex_hf.conversion.digests import json_digest
from thex_hf.errors import ConversionError

logger = logging.get_logger(__name__)
Tensors = dict[str, Tensor]
SUFFIX = ".partial"
BEGUN = "begun.json"
STAGE_DIGESTS, DIVERGED = "stages", "diverged"
"""In the record of what was begun: digests of each stage's options; that it ended so."""

BETWEEN_SAVES = 60.0
"""Seconds between two savings of a training loop's state."""

OUTDATED = {
    "weights": "the source has changed since",
    "tokens": "its texts are tokenised otherwise by now",
    "version": "another version of thex_hf began it",
}
"""Facts that cannot come back; a checkpoint that differs in nothing else is dropped."""


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
        cls,
        folder: Path,
        facts: Mapping[str, Any],
        *,
        restart: bool,
        writes: bool,
        stages: Mapping[str, str] | None = None,
    ) -> Checkpoint:
        """Begin, or go on with what is there.

        What can never be gone on with is dropped with a warning: the same source has other
        weights by now (``weights``, ``tokens``), or another version began it (``version``). What
        is left of a conversion that diverged is gone on with under other options too, as far as
        they decide the same.

        Args:
            folder: where it is kept; made if need be.
            facts: what decides the result, as JSON values by name; must be those of the first run.
            restart: drop what is there.
            writes: whether this process writes.
            stages: digests of the options that decide each stage, by its name.

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
        begins = {**digests, STAGE_DIGESTS: dict(stages or {})}
        if begun is not None and begun.get(DIVERGED) and changed in ([], ["options"]):
            checkpoint = cls(folder, writes)
            if writes:
                checkpoint._keep(begun.get(STAGE_DIGESTS, {}), begins)
            return checkpoint
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
            _write(record, begins)
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

    def diverged(self, stage: str) -> list[str]:
        """After a divergence, forget that stage and the way there.

        Args:
            stage: the last one of the conversion, finished or not.

        Returns:
            The names of what is kept.
        """
        kept = sorted(path.stem for path in self._finished() if path.stem != stage)
        if kept and self.writes and self.folder is not None:
            self._forget({stage})
            _write(self.folder / BEGUN, {**_read(self.folder / BEGUN), DIVERGED: True})
        return kept

    def _keep(self, before: Mapping[str, str], record: dict[str, Any]) -> None:
        """Go on from the stages that the same options decide, under a new record."""
        assert self.folder is not None
        digests = record[STAGE_DIGESTS]
        other = {path.stem for path in self._finished()}
        same = {name for name in other if name in digests and before.get(name) == digests[name]}
        self._forget(other - same)
        _write(self.folder / BEGUN, record)
        logger.warning(
            "going on from what the conversion that diverged in %s had finished: %s%s",
            self.folder,
            ", ".join(sorted(same)) or "nothing, with these options",
            "; with the same options it may end so again" if before == digests else "",
        )

    def _finished(self) -> list[Path]:
        """The files of finished stages, those of parts too."""
        found = [] if self.folder is None else self.folder.rglob("*.safetensors")
        return [path for path in found if not path.stem.startswith("inside-")]

    def _forget(self, stages: set[str]) -> None:
        """Remove what stages left, and all ways to one."""
        assert self.folder is not None
        for path in [*self.folder.rglob("inside-*"), *self._finished()]:
            if path.stem in stages or path.stem.startswith("inside-"):
                path.unlink(missing_ok=True)

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
