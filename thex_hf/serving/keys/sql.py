"""Clients' evaluation keys in a database, so that several servers share them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from thex_hf._extras import require
from thex_hf.errors import KeyStoreError
from thex_hf.serving.keys.repository import (
    DEFAULT,
    SHA256_HEX,
    Entry,
    Limits,
    UptimeClock,
    damaged_error,
    hash_error,
    missing_error,
    piece_error,
    unfinished_error,
)


@dataclass
class KeyDatabase:
    """Tables of files, their pieces and the repository's clock, in any database of SQLAlchemy.

    Args:
        url: as SQLAlchemy writes it, ``sqlite:////var/keys.db`` or ``postgresql+psycopg://...``.
        limits: of what it takes.
        clock: how time passes.

    Raises:
        BackendUnavailable: SQLAlchemy, or the driver of that database, is not installed.
        KeyStoreError: the database cannot be reached.
    """

    url: str = field(repr=False)  # may hold a password
    limits: Limits = DEFAULT
    clock: UptimeClock = field(default_factory=UptimeClock)

    def __post_init__(self) -> None:
        """Connect, and make the tables if they are not there."""
        self._sql: Any = require(
            "sqlalchemy", install="'thex_hf[sql]'", purpose="keeping keys in a database"
        )
        sql = self._sql
        tables = sql.MetaData()

        def names() -> list[Any]:
            return [
                sql.Column(name, sql.String(64), primary_key=True) for name in ("owner", "name")
            ]

        self._file_table = sql.Table(
            "thex_hf_keys",
            tables,
            *names(),
            sql.Column("size", sql.BigInteger, nullable=False),
            sql.Column("received", sql.BigInteger, nullable=False),
            sql.Column("used", sql.Float, nullable=False),
        )
        self._piece_table = sql.Table(
            "thex_hf_key_pieces",
            tables,
            *names(),
            sql.Column("start", sql.BigInteger, primary_key=True),
            sql.Column("data", sql.LargeBinary, nullable=False),
        )
        self._clock_table = sql.Table(
            "thex_hf_key_clock",
            tables,
            sql.Column("id", sql.Integer, primary_key=True, autoincrement=False),
            sql.Column("clock", sql.Float, nullable=False),
            sql.Column("swept", sql.Float, nullable=False),
        )
        with self._storage_errors("open the database of keys"):
            self._engine = sql.create_engine(self.url, hide_parameters=True)
            tables.create_all(self._engine)
            self._start_clock()

    def begin(self, name: str, owner: str, size: int) -> Entry:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        self.limits.check(name, size)
        entry = self.find(name, owner)
        if entry is not None and entry.size == size:
            return entry
        if entry is not None:
            self.delete(name, owner)
        files, call = self._file_table, self._sql.func
        with self._storage_errors("begin a key file"), self._engine.begin() as connection:
            whole = self._sql.select(call.coalesce(call.sum(files.c.size), 0), call.count())
            whole = whole.select_from(files)
            owned, count = connection.execute(
                whole.where(files.c.owner == _owner_hash(owner))
            ).one()
            self.limits.check_room(size, int(owned), int(connection.scalar(whole)), int(count))
            row = {"owner": _owner_hash(owner), "name": name, "size": size, "received": 0}
            used = self._read_clock(connection)
            connection.execute(files.insert().values(**row, used=used))
        return Entry(name, owner, size, 0, used)

    def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        entry = self._existing(name, owner)
        if entry.complete:
            return entry
        end, files = offset + len(data), self._file_table
        if offset != entry.received or end > entry.size:
            raise piece_error(entry, offset, end)
        with self._storage_errors("write a key file"), self._engine.begin() as connection:
            row_filter = self._matching(files, name, owner) & (files.c.received == offset)
            moved = connection.execute(files.update().where(row_filter).values(received=end))
            if moved.rowcount != 1:  # another piece came in between
                raise piece_error(entry, offset, end)
            row = {"owner": _owner_hash(owner), "name": name, "start": offset, "data": data}
            connection.execute(self._piece_table.insert().values(**row))
            digest = self._content_hash(connection, name, owner) if end == entry.size else name
            if digest != name:  # all in one transaction: what is whole was verified
                self._remove(connection, name, owner)
        if digest != name:
            raise hash_error(name, digest)
        return Entry(name, owner, entry.size, end, entry.used, complete=end == entry.size)

    def find(self, name: str, owner: str) -> Entry | None:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        if not isinstance(name, str) or not SHA256_HEX.fullmatch(name):
            return None
        files = self._file_table
        with (
            self._storage_errors("read the database of keys"),
            self._engine.connect() as connection,
        ):
            row = connection.execute(
                files.select().where(self._matching(files, name, owner))
            ).first()
        if row is None:
            return None
        whole = row.received == row.size
        return Entry(name, owner, row.size, row.received, row.used, complete=whole)

    def read(self, name: str, owner: str) -> bytes:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        entry = self._existing(name, owner)
        if not entry.complete:
            raise unfinished_error(entry)
        data = self._content(name, owner)
        if hashlib.sha256(data).hexdigest() != name:
            self.delete(name, owner)
            raise damaged_error(name)
        with self._storage_errors("read a key file"), self._engine.begin() as connection:
            row_filter = self._matching(self._file_table, name, owner)
            connection.execute(
                self._file_table.update()
                .where(row_filter)
                .values(used=self._read_clock(connection))
            )
        return data

    def delete(self, name: str, owner: str) -> bool:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        with self._storage_errors("delete a key file"), self._engine.begin() as connection:
            return self._remove(connection, name, owner)

    def sweep(self) -> int:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        files, pieces = self._file_table, self._piece_table
        with self._storage_errors("sweep the database of keys"), self._engine.begin() as connection:
            swept = connection.scalar(self._sql.select(self._clock_table.c.swept))
            clock = self._read_clock(connection) + self.clock.elapsed(swept)
            moved = self._clock_table.update().values(clock=clock, swept=self.clock.wall())
            connection.execute(moved)
            end = clock - self.limits.seconds
            old = list(connection.execute(files.select().where(files.c.used < end)))
            for row in old:
                for table in (pieces, files):
                    same = (table.c.owner == row.owner) & (table.c.name == row.name)
                    connection.execute(table.delete().where(same))
        return len(old)

    def total_bytes(self) -> int:
        """See :class:`thex_hf.serving.keys.repository.KeyRepository`."""
        total = self._sql.func.coalesce(self._sql.func.sum(self._file_table.c.size), 0)
        with (
            self._storage_errors("read the database of keys"),
            self._engine.connect() as connection,
        ):
            return int(connection.scalar(self._sql.select(total)))

    def _start_clock(self) -> None:
        """Begin the repository's clock, where no server has; not before what was used last."""
        newest = self._sql.select(self._sql.func.max(self._file_table.c.used))
        try:
            with self._engine.begin() as connection:
                if connection.execute(self._clock_table.select()).first() is None:
                    now = self.clock.wall()
                    row = {"id": 1, "clock": connection.scalar(newest) or now, "swept": now}
                    connection.execute(self._clock_table.insert().values(**row))
        except self._sql.exc.IntegrityError:
            return  # another one did

    def _read_clock(self, connection: Any) -> float:
        return float(connection.scalar(self._sql.select(self._clock_table.c.clock)))

    def _content_hash(self, connection: Any, name: str, owner: str) -> str:
        pieces, digest = self._piece_table, hashlib.sha256()
        wanted = self._sql.select(pieces.c.data).where(self._matching(pieces, name, owner))
        for row in connection.execute(wanted.order_by(pieces.c.start)):
            digest.update(row.data)
        return digest.hexdigest()

    def _remove(self, connection: Any, name: str, owner: str) -> bool:
        connection.execute(
            self._piece_table.delete().where(self._matching(self._piece_table, name, owner))
        )
        removed = connection.execute(
            self._file_table.delete().where(self._matching(self._file_table, name, owner))
        )
        return bool(removed.rowcount)

    def _content(self, name: str, owner: str) -> bytes:
        pieces = self._piece_table
        wanted = self._sql.select(pieces.c.data).where(self._matching(pieces, name, owner))
        with self._storage_errors("read a key file"), self._engine.connect() as connection:
            return b"".join(row.data for row in connection.execute(wanted.order_by(pieces.c.start)))

    def _matching(self, table: Any, name: str, owner: str) -> Any:
        return (table.c.owner == _owner_hash(owner)) & (table.c.name == name)

    def _existing(self, name: str, owner: str) -> Entry:
        entry = self.find(name, owner)
        if entry is None:
            raise missing_error(name)
        return entry

    @contextmanager
    def _storage_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._sql.exc.SQLAlchemyError, ImportError) as error:
            first = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise KeyStoreError(f"cannot {what}: {first}; try again later") from error


def _owner_hash(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()
