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
    NAME,
    Ages,
    Entry,
    Limits,
    damaged,
    missing,
    unfinished,
    wrong_hash,
    wrong_piece,
)


@dataclass
class SqlShelf:
    """Tables of files, of their pieces, and of the shelf's clock, in any database of SQLAlchemy.

    Args:
        url: as SQLAlchemy writes it, ``sqlite:////var/keys.db`` or ``postgresql+psycopg://...``.
        limits: of what it takes.
        ages: how time passes.

    Raises:
        BackendUnavailable: SQLAlchemy, or the driver of that database, is not installed.
        KeyStoreError: the database cannot be reached.
    """

    url: str = field(repr=False)  # may hold a password
    limits: Limits = DEFAULT
    ages: Ages = field(default_factory=Ages)

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
        self._clocks = sql.Table(
            "thex_hf_key_clock",
            tables,
            sql.Column("id", sql.Integer, primary_key=True, autoincrement=False),
            sql.Column("clock", sql.Float, nullable=False),
            sql.Column("swept", sql.Float, nullable=False),
        )
        with self._said("open the database of keys"):
            self._engine = sql.create_engine(self.url, hide_parameters=True)
            tables.create_all(self._engine)
            self._start_clock()

    def begin(self, name: str, owner: str, size: int) -> Entry:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        self.limits.check(name, size)
        held = self.find(name, owner)
        if held is not None and held.size == size:
            return held
        if held is not None:
            self.delete(name, owner)
        files, call = self._files, self._sql.func
        with self._said("begin a key file"), self._engine.begin() as link:
            whole = self._sql.select(call.coalesce(call.sum(files.c.size), 0), call.count())
            whole = whole.select_from(files)
            own, count = link.execute(whole.where(files.c.owner == _hashed(owner))).one()
            self.limits.check_room(size, int(own), int(link.scalar(whole)), int(count))
            row = {"owner": _hashed(owner), "name": name, "size": size, "received": 0}
            used = self._clock(link)
            link.execute(files.insert().values(**row, used=used))
        return Entry(name, owner, size, 0, used)

    def write(self, name: str, owner: str, offset: int, data: bytes) -> Entry:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
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
            found = self._hash(link, name, owner) if end == held.size else name
            if found != name:  # all in one transaction: what is whole was verified
                self._drop(link, name, owner)
        if found != name:
            raise wrong_hash(name, found)
        return Entry(name, owner, held.size, end, held.used, complete=end == held.size)

    def find(self, name: str, owner: str) -> Entry | None:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return None
        files = self._files
        with self._said("read the database of keys"), self._engine.connect() as link:
            row = link.execute(files.select().where(self._is(files, name, owner))).first()
        if row is None:
            return None
        whole = row.received == row.size
        return Entry(name, owner, row.size, row.received, row.used, complete=whole)

    def read(self, name: str, owner: str) -> bytes:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        held = self._held(name, owner)
        if not held.complete:
            raise unfinished(held)
        data = self._content(name, owner)
        if hashlib.sha256(data).hexdigest() != name:
            self.delete(name, owner)
            raise damaged(name)
        with self._said("read a key file"), self._engine.begin() as link:
            here = self._is(self._files, name, owner)
            link.execute(self._files.update().where(here).values(used=self._clock(link)))
        return data

    def delete(self, name: str, owner: str) -> bool:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        with self._said("delete a key file"), self._engine.begin() as link:
            return self._drop(link, name, owner)

    def sweep(self) -> int:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        files, pieces = self._files, self._pieces
        with self._said("sweep the database of keys"), self._engine.begin() as link:
            swept = link.scalar(self._sql.select(self._clocks.c.swept))
            clock = self._clock(link) + self.ages.passed(swept)
            moved = self._clocks.update().values(clock=clock, swept=self.ages.wall())
            link.execute(moved)
            end = clock - self.limits.seconds
            old = list(link.execute(files.select().where(files.c.used < end)))
            for row in old:
                for table in (pieces, files):
                    same = (table.c.owner == row.owner) & (table.c.name == row.name)
                    link.execute(table.delete().where(same))
        return len(old)

    def taken(self) -> int:
        """See :class:`thex_hf.serving.keys.repository.Shelf`."""
        total = self._sql.func.coalesce(self._sql.func.sum(self._files.c.size), 0)
        with self._said("read the database of keys"), self._engine.connect() as link:
            return int(link.scalar(self._sql.select(total)))

    def _start_clock(self) -> None:
        """Begin the shelf's clock, where no server has; not before what was used last."""
        newest = self._sql.select(self._sql.func.max(self._files.c.used))
        try:
            with self._engine.begin() as link:
                if link.execute(self._clocks.select()).first() is None:
                    now = self.ages.wall()
                    row = {"id": 1, "clock": link.scalar(newest) or now, "swept": now}
                    link.execute(self._clocks.insert().values(**row))
        except self._sql.exc.IntegrityError:
            return  # another one did

    def _clock(self, link: Any) -> float:
        return float(link.scalar(self._sql.select(self._clocks.c.clock)))

    def _hash(self, link: Any, name: str, owner: str) -> str:
        pieces, found = self._pieces, hashlib.sha256()
        mine = self._sql.select(pieces.c.data).where(self._is(pieces, name, owner))
        for row in link.execute(mine.order_by(pieces.c.start)):
            found.update(row.data)
        return found.hexdigest()

    def _drop(self, link: Any, name: str, owner: str) -> bool:
        link.execute(self._pieces.delete().where(self._is(self._pieces, name, owner)))
        gone = link.execute(self._files.delete().where(self._is(self._files, name, owner)))
        return bool(gone.rowcount)

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
            raise missing(name)
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
