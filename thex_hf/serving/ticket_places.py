"""Where tables of tickets are: a file beside clients' keys, or the database of the keys."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thex_hf._extras import require
from thex_hf.errors import KeyStoreError, ThexError
from thex_hf.serving.tickets import TABLES, RowTaken, TableLedger, Transaction

FILE, STAMP = "tickets.db", "tickets.stamp"
STAMPS = "thex_hf_ticket_stamp"
LOCK_SECONDS = 60.0


@dataclass
class FolderLedger(TableLedger):
    """Tickets in one SQLite file, 0600, in a folder. Several processes may use it at once.

    A folder that was brought back from a backup would have forgotten which tickets are spent. So a
    second file, never written again, is known by its inode and by the time of its last change,
    which no copy keeps: if it is another one, all tickets are dropped. A disk that is put back as
    a whole, by a snapshot, is not noticed.

    Args:
        folder: of the keys; made if it is not there.

    Raises:
        KeyStoreError: the folder cannot be made or written.
    """

    folder: Path

    def __post_init__(self) -> None:
        """Make the file."""
        self._file, self._stamp = self.folder / FILE, self.folder / STAMP
        with _errors("make the file of tickets"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):  # one that is there is not opened: locks would be lost
                os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            with self.transaction("make the file of tickets"):
                pass

    @contextmanager
    def transaction(self, what: str) -> Iterator[Transaction]:
        """See :class:`~thex_hf.serving.tickets.TableLedger`; one at a time."""
        with (
            _errors(what),
            closing(sqlite3.connect(self._file, LOCK_SECONDS, isolation_level=None)) as connection,
        ):
            for setting in ("synchronous = EXTRA", "secure_delete = ON"):
                connection.execute(f"PRAGMA {setting}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                tables = _FileTables(connection)
                self._check_stamp(tables)
                yield tables
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def _check_stamp(self, tables: _FileTables) -> None:
        """Drop everything where the stamp is not the one that the tables know."""
        for name, columns in {**TABLES, STAMPS: "stamp TEXT NOT NULL"}.items():
            tables.change(f"CREATE TABLE IF NOT EXISTS {name} ({columns})", {})
        if tables.rows(f"SELECT stamp FROM {STAMPS}", {}) == [(self._read_stamp(),)]:
            return
        for name in (*TABLES, STAMPS):
            tables.change(f"DELETE FROM {name}", {})
        self._stamp.unlink(missing_ok=True)
        descriptor = os.open(self._stamp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(16))
        tables.change(f"INSERT INTO {STAMPS} VALUES (:stamp)", {"stamp": self._read_stamp()})
        tables.connection.commit()  # whatever comes of the rest
        tables.connection.execute("BEGIN IMMEDIATE")

    def _read_stamp(self) -> str:
        """What the stamp says, and what the system says of it; empty if there is none."""
        try:
            facts, text = self._stamp.stat(), self._stamp.read_text(encoding="ascii")
        except FileNotFoundError:
            return ""
        tables = self._file.stat().st_ino
        return f"{text} {facts.st_ino} {facts.st_ctime_ns} {tables}"


@dataclass
class _FileTables:
    """Statements to SQLite."""

    connection: sqlite3.Connection

    def rows(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        return self.connection.execute(statement, dict(values)).fetchall()

    def change(self, statement: str, values: Mapping[str, Any]) -> int:
        try:
            return self.connection.execute(statement, dict(values)).rowcount
        except sqlite3.IntegrityError:
            raise RowTaken from None


@contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, ThexError):
            raise  # some of ours are errors of the system too
        raise KeyStoreError(f"cannot {what}: {error}; try again later") from error


@dataclass
class DatabaseLedger(TableLedger):
    """Tickets in any database of SQLAlchemy, so that several servers share them.

    Args:
        url: as SQLAlchemy writes it.

    Raises:
        BackendUnavailable: SQLAlchemy, or the driver of that database, is not installed.
        KeyStoreError: the database cannot be reached.
    """

    url: str = field(repr=False)  # may hold a password

    def __post_init__(self) -> None:
        """Connect, and make the tables if they are not there."""
        self._sql: Any = require(
            "sqlalchemy", install="'thex_hf[sql]'", purpose="keeping tickets in a database"
        )
        with self._errors("open the database of tickets"):
            self._engine = self._sql.create_engine(self.url, hide_parameters=True)
        for name, columns in TABLES.items():
            try:
                self._make(name, columns)
            except KeyStoreError:
                if not self._has(name):  # or else another server made it
                    raise

    def _make(self, name: str, columns: str) -> None:
        if not self._has(name):
            with self.transaction("make the tables of tickets") as tables:
                tables.change(f"CREATE TABLE {name} ({columns})", {})

    def _has(self, name: str) -> bool:
        with self._errors("open the database of tickets"):
            return bool(self._sql.inspect(self._engine).has_table(name))

    @contextmanager
    def transaction(self, what: str) -> Iterator[Transaction]:
        """See :class:`~thex_hf.serving.tickets.TableLedger`."""
        with self._errors(what), self._engine.begin() as connection:
            yield _DatabaseTables(self._sql, connection)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._sql.exc.SQLAlchemyError, ImportError) as error:
            if isinstance(error, ThexError):
                raise
            first = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise KeyStoreError(f"cannot {what}: {first}; try again later") from error


@dataclass
class _DatabaseTables:
    """Statements to a database."""

    sql: Any
    connection: Any

    def rows(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        result = self.connection.execute(self.sql.text(statement), dict(values))
        return [tuple(row) for row in result]

    def change(self, statement: str, values: Mapping[str, Any]) -> int:
        try:
            return int(self.connection.execute(self.sql.text(statement), dict(values)).rowcount)
        except self.sql.exc.IntegrityError:
            raise RowTaken from None
