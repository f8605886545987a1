"""Clients' evaluation keys in a database, so that several servers share them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from thex_hf._extras import require
from thex_hf.errors import KeyMismatch, KeyStoreError
from thex_hf.service.shelf import DEFAULT, NAME, Entry, Limits, wrong_hash, wrong_piece


@dataclass
class SqlShelf:
    """Two tables, one of files and one of their pieces, in any database of SQLAlchemy.

    Args:
        url: as SQLAlchemy writes it, ``sqlite:////var/keys.db`` or ``postgresql+psycopg://...``.
        limits: of what it takes.
        clock: seconds since 1970.

    Raises:
        BackendUnavailable: SQLAlchemy, or the driver of that database, is not installed.
        KeyStoreError: the database cannot be reached.
    """

    url: str = field(repr=False)  # may hold a password
    limits: Limits = DEFAULT
    clock: Callable[[], float] = time.time

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

        self._files = sql.Table(
            "thex_hf_keys",
            tables,
            *names(),
            sql.Column("size", sql.BigInteger, nullable=False),
            sql.Column("received", sql.BigInteger, nullable=False),
            sql.Column("used", sql.Float, nullable=False),
        )
        self._pieces = sql.Table(
            "thex_hf_key_pieces",
            tables,
            *names(),
            sql.Column("start", sql.BigInteger, primary_key=True),
            sql.Column("data", sql.LargeBinary, nullable=False),
        )
        with self._said("open the database of keys"):
            self._engine = sql.create_engine(self.url, hide_parameters=True)
            tables.create_all(self._engine)

    def begin(self, name: str, owner: str, size: int) -> Entry:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        self.limits.check(name, size)
        held = self.find(name, owner)
        if held is not None and held.size == size:
            return held
        if held is not None:
            self.delete(name, owner)
        fresh = Entry(name, owner, size, 0, self.clock())
        files, total = self._files, self._sql.func.coalesce
        with self._said("begin a key file"), self._engine.begin() as link:
            whole = self._sql.select(total(self._sql.func.sum(files.c.size), 0))
            own = link.scalar(whole.where(files.c.owner == _hashed(owner)))
            self.limits.check_room(size, int(own), int(link.scalar(whole)))
            row = {"owner": _hashed(owner), "name": name, "size": size, "received": 0}
            link.execute(files.insert().values(**row, used=fresh.used))
        return fresh

    def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        held = self._held(name, owner)
        if held.complete:
            return held
        end, files = offset + len(data), self._files
        if offset != held.received or end > held.size:
            raise wrong_piece(held, offset, end)
        with self._said("write a key file"), self._engine.begin() as link:
            here = self._is(files, name, owner) & (files.c.received == offset)
            moved = link.execute(files.update().where(here).values(received=end))
            if moved.rowcount != 1:  # another piece came in between
                raise wrong_piece(held, offset, end)
            row = {"owner": _hashed(owner), "name": name, "start": offset, "data": data}
            link.execute(self._pieces.insert().values(**row))
        if end == held.size:
            found = hashlib.sha256(self._content(name, owner)).hexdigest()
            if found != name:
                self.delete(name, owner)
                raise wrong_hash(name, found)
        return Entry(name, owner, held.size, end, self.clock())

    def find(self, name: str, owner: str) -> Entry | None:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return None
        files = self._files
        with self._said("read the database of keys"), self._engine.connect() as link:
            row = link.execute(files.select().where(self._is(files, name, owner))).first()
        return None if row is None else Entry(name, owner, row.size, row.received, row.used)

    def read(self, name: str, owner: str) -> bytes:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        held = self._held(name, owner)
        if not held.complete:
            raise KeyMismatch(
                f"of key file {name} {held.received} of {held.size} bytes are here; send the rest"
            )
        data = self._content(name, owner)
        with self._said("read a key file"), self._engine.begin() as link:
            here = self._is(self._files, name, owner)
            link.execute(self._files.update().where(here).values(used=self.clock()))
        return data

    def delete(self, name: str, owner: str) -> bool:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        with self._said("delete a key file"), self._engine.begin() as link:
            link.execute(self._pieces.delete().where(self._is(self._pieces, name, owner)))
            gone = link.execute(self._files.delete().where(self._is(self._files, name, owner)))
        return bool(gone.rowcount)

    def sweep(self) -> int:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        files, pieces = self._files, self._pieces
        end = self.clock() - self.limits.seconds
        with self._said("sweep the database of keys"), self._engine.begin() as link:
            old = list(link.execute(files.select().where(files.c.used < end)))
            for row in old:
                for table in (pieces, files):
                    same = (table.c.owner == row.owner) & (table.c.name == row.name)
                    link.execute(table.delete().where(same))
        return len(old)

    def taken(self) -> int:
        """See :class:`thex_hf.service.shelf.Shelf`."""
        total = self._sql.func.coalesce(self._sql.func.sum(self._files.c.size), 0)
        with self._said("read the database of keys"), self._engine.connect() as link:
            return int(link.scalar(self._sql.select(total)))

    def _content(self, name: str, owner: str) -> bytes:
        pieces = self._pieces
        mine = self._sql.select(pieces.c.data).where(self._is(pieces, name, owner))
        with self._said("read a key file"), self._engine.connect() as link:
            return b"".join(row.data for row in link.execute(mine.order_by(pieces.c.start)))

    def _is(self, table: Any, name: str, owner: str) -> Any:
        return (table.c.owner == _hashed(owner)) & (table.c.name == name)

    def _held(self, name: str, owner: str) -> Entry:
        held = self.find(name, owner)
        if held is None:
            raise KeyMismatch(f"there is no key file {name} of yours here; send it first")
        return held

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._sql.exc.SQLAlchemyError, ImportError) as error:
            first = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise KeyStoreError(f"cannot {what}: {first}; try again later") from error


def _hashed(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()
