"""``thex-hf classify --output``: answers in a file; a command that is repeated goes on with it.

Beside the file stands a record of what the answers are to. Rows are written in the order of the
texts as they are answered, so those that are there say where to go on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from thex_hf._paths import user_path
from thex_hf.cli.journal import Journal, replace_json, unwritten, whole_lines
from thex_hf.cli.layout import PARQUET, SUFFIXES, Layout
from thex_hf.cli.texts import Found, Text
from thex_hf.errors import OptionError, OutputError, TextError

RECORD, PARTIAL, LOCK = ".run.json", ".partial.jsonl", ".lock"
FORMAT = {"format": "thex_hf answers", "version": 1}
WITHOUT_EFFECT = ("on_error", "batch_size")
"""Options of a call that change no answer, so that a command may be repeated with others."""


@dataclass
class Output:
    """A file of answers. Made with :meth:`of`; then :meth:`begin`, then :meth:`write`.

    Args:
        path: of the file.
        texts: all of them, in order.
        layout: of the file.

    Attributes:
        before: how many texts had answers when this command began.
        done: how many have some now.
        skipped: how many this command could not classify.
    """

    path: Path
    texts: Sequence[Text]
    layout: Layout
    before: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    _lock: Any = field(default=None, init=False)

    @classmethod
    def of(
        cls, path: Path, texts: Sequence[Text], *, scores: bool = False, agreement: bool = False
    ) -> Output:
        """Look at what was asked for; nothing is written.

        Args:
            path: ends in ``.jsonl``, ``.csv`` or ``.parquet``.
            texts: all of them, in order.
            scores: answers have several scores.
            agreement: they are compared with the clear model's.

        Raises:
            OptionError: another ending.
            OutputError: there is no such folder, or the file is not one of ours.
            BackendUnavailable: Parquet, and ``pyarrow`` is not installed.
        """
        place = user_path("output", path)
        if place.suffix not in SUFFIXES:
            raise OptionError(f"--output should end in {', '.join(SUFFIXES)}, got {str(path)!r}")
        if not place.parent.is_dir():
            raise OutputError(
                f"{str(place)!r} cannot be written: there is no folder {str(place.parent)!r}; make "
                f"it, or name another"
            )
        layout = Layout.of(place.suffix, texts, scores=scores, agreement=agreement)
        out = cls(place, texts, layout)
        out._known()
        return out

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    @property
    def _rows(self) -> Path:
        """The file that rows are appended to."""
        return self._beside(PARTIAL) if self.layout.suffix == PARQUET else self.path

    def _known(self) -> dict[str, Any]:
        """The record of the answers that are there; empty if there are none. Raises OutputError."""
        record = self._beside(RECORD)
        there = next((p for p in (self.path, self._rows) if p.exists() or p.is_symlink()), None)
        known: Any = {}
        if record.is_file():
            with suppress(OSError, ValueError):
                known = json.loads(record.read_text(encoding="utf-8"))
            if not isinstance(known, dict) or not FORMAT.items() <= known.items():
                raise OutputError(
                    f"{str(record)!r} should be the record of a command that wrote answers, and is "
                    f"none; name another output, or remove it"
                )
        elif there is not None:
            raise OutputError(
                f"{str(there)!r} is there, and not from this command: it has no {record.name} "
                f"beside it; name another output, or remove it"
            )
        return {} if there is None else known

    def begin(self, model: str, options: Mapping[str, Any]) -> list[Text]:
        """The texts that have no answers yet; no other process may write here from now on.

        Args:
            model: says which model it is.
            options: of the call and the pipeline, as JSON values.

        Raises:
            OutputError: what is there was written for other texts, by another model, with other
                options, or was changed since; or another process writes it; or nobody can.
        """
        record = {
            **FORMAT,
            "columns": list(self.layout.kinds),
            "texts": _digest([[t.id, t.text, t.pair, str(t.fault)] for t in self.texts]),
            "model": model,
            "options": {k: v for k, v in options.items() if k not in WITHOUT_EFFECT},
        }
        self._acquire()
        try:
            known = self._known()
            rows = self._answered() if known else []
            if rows:
                self._refuse_other(known, record)
                self._refuse_changed(rows)
            else:
                replace_json(self._beside(RECORD), record)
            self.before = self.done = len(rows)
        except BaseException:
            self._release()
            raise
        return list(self.texts[self.done :])

    def _acquire(self) -> None:
        from filelock import FileLock, Timeout

        self._lock = FileLock(self._beside(LOCK), timeout=0, mode=0o600)
        try:
            self._lock.acquire()
        except Timeout:
            raise OutputError(
                f"{str(self.path)!r} is being written by another command; wait for it, or name "
                f"another output"
            ) from None
        except OSError as error:
            raise unwritten(self.path, error) from error

    def _release(self) -> None:
        with suppress(OSError):
            self._beside(LOCK).unlink(missing_ok=True)
        self._lock.release()

    def _answered(self) -> list[int | None]:
        """Which texts the rows are of that are there."""
        if not self._rows.exists():  # a finished Parquet file
            from thex_hf.tables.parquet import read_parquet

            return read_parquet(self.path, ("row",)).column("row")
        try:
            with open(self._rows, "rb") as file:
                lines = [*whole_lines(file, quoted=self.layout.is_csv)]
        except OSError as error:
            raise unwritten(self._rows, error) from error
        return [self.layout.row_of(line) for line in lines[self.layout.is_csv :]]

    def _refuse_other(self, known: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Refuse to go on with answers to something else."""
        if known == record:
            return
        mine, theirs = record["options"], known.get("options") or {}
        changed = [
            f"{name} was {theirs.get(name)!r} and is {mine.get(name)!r}"
            for name in dict.fromkeys((*theirs, *mine))
            if theirs.get(name) != mine.get(name)
        ]
        what = f"with other options ({', '.join(changed) or 'other columns'})"
        if known.get("texts") != record["texts"]:
            what = "to other texts"
        elif known.get("model") != record["model"]:
            what = "of another model"
        raise OutputError(
            f"{str(self.path)!r} has answers {what}; repeat the command that wrote them, name "
            f"another output, or remove it"
        )

    def _refuse_changed(self, rows: Sequence[int | None]) -> None:
        """Refuse rows that are not those of the first texts."""
        if rows != [text.row for text in self.texts[: len(rows)]]:
            raise OutputError(
                f"{str(self._rows)!r} was changed since it was written: its rows are not the first "
                f"{len(rows)} of {len(self.texts)} texts in their order; put it back as it was, or "
                f"remove it to begin anew"
            )

    def write(self, records: Iterable[Found]) -> None:
        """Write the records of the texts that :meth:`begin` gave, each as it comes.

        Raises:
            OutputError: there is no room; what came before stays.
        """
        try:
            if self.done < len(self.texts):
                self._append(records)
            if self._rows != self.path and self._rows.exists():
                self.layout.save_parquet(self._rows, self.path)
                self._rows.unlink()
        except BaseException:
            self._leave()
            raise
        finally:
            self._release()

    def _append(self, records: Iterable[Found]) -> None:
        journal = Journal(self._rows, quoted=self.layout.is_csv)
        left = self.texts[self.done :]
        try:
            if not self.done:
                journal.restart(self.layout.header())
            with closing(watched(records, len(left))) as counted:
                for text, record in zip(left, counted, strict=True):
                    journal.append(self.layout.line(text, record))
                    self.done += 1
                    self.skipped += isinstance(record, TextError)
        finally:
            journal.close()

    def _leave(self) -> None:
        """Say how to go on; leave nothing where there is nothing to go on with."""
        with suppress(OSError):
            if self.done:
                typer.echo(
                    f"{self.done} of {len(self.texts)} texts have their answers in {self._rows}; "
                    f"repeat the command to go on",
                    err=True,
                )
            else:
                for path in (self._rows, self._beside(RECORD)):
                    path.unlink(missing_ok=True)


def watched(records: Iterable[Found], total: int) -> Generator[Found, None, None]:
    """The records, with a bar of how many of several have come.

    Args:
        records: as they come.
        total: how many there will be.
    """
    from thex_hf._progress import progress

    with progress(total, "texts", shown=total > 1) as bar:
        for record in records:
            yield record
            bar.update()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()
