"""A file of whole lines, one for each answer, whose writer may be killed at any time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from thex_hf.errors import OutputError


class Journal:
    """Appends lines to a file, each handed to the operating system at once; mode 0600 if new.

    Args:
        path: of the file; what a killed writer left of a line is dropped.
        quoted: the end of a line does not count between quotation marks, as in CSV.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, *, quoted: bool = False) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(os.dup(self._descriptor), "rb") as file:
                end = sum(map(len, whole_lines(file, quoted=quoted)))
            os.ftruncate(self._descriptor, end)
            os.lseek(self._descriptor, end, os.SEEK_SET)
        except OSError as error:
            raise unwritten(path, error) from error

    def restart(self, header: bytes) -> None:
        """Drop all lines and write the first one anew; it may be empty.

        Raises:
            OutputError: as :meth:`append`.
        """
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        if header:
            self.append(header)

    def append(self, line: bytes) -> None:
        """Write one line, its end included.

        Raises:
            OutputError: there is no room, or the file cannot be written any more.
        """
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise unwritten(self.path, error) from error

    def close(self) -> None:
        """Write as far as the disk.

        Raises:
            OutputError: that failed.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise unwritten(self.path, error) from error
        finally:
            os.close(self._descriptor)


def whole_lines(file: BinaryIO, *, quoted: bool = False) -> Iterator[bytes]:
    """The lines of a file up to the first that does not end.

    Args:
        file: at its beginning.
        quoted: as for :class:`Journal`; a line that goes over several is given as one.
    """
    parts: list[bytes] = []
    marks = 0
    for part in file:
        parts.append(part)
        marks += part.count(b'"')
        if part.endswith(b"\n") and not (quoted and marks % 2):
            yield b"".join(parts)
            parts.clear()


def replace_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, mode 0600, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    part = path.with_name(path.name + ".tmp")
    try:
        with open(new_file(part), "w", encoding="utf-8") as file:
            json.dump(values, file, indent=2)
            file.write("\n")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritten(path, error) from error


def new_file(path: Path) -> int:
    """A descriptor of an empty file, mode 0600 if it is new. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def unwritten(path: Path, error: OSError) -> OutputError:
    """The error for a file that cannot be written."""
    return OutputError(
        f"{str(path)!r} cannot be written: {error.strerror or error}; see to it, for example make "
        f"room, and repeat the command: it goes on where it stopped"
    )
