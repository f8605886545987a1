"""Taking a piece of a key file: the last one is followed by a trial of the whole."""

from __future__ import annotations

import asyncio

from thex_hf.errors import KeyMismatch, ThexError
from thex_hf.service.crew import Crew
from thex_hf.service.shelf import Entry, Shelf


async def require_begun(shelf: Shelf, name: str, owner: str) -> None:
    """Refuse a piece of a file that nobody announced, before it is read.

    Raises:
        KeyMismatch: says so.
    """
    if await asyncio.to_thread(shelf.find, name, owner) is None:
        raise KeyMismatch(f"no key file {name} of yours was announced; begin one first")


async def take_piece(
    shelf: Shelf, crew: Crew, name: str, owner: str, offset: int, data: bytes
) -> Entry:
    """Put a piece on the shelf; a file that is whole is tried by a worker, and dropped if bad.

    Raises:
        ThexError: as :meth:`thex_hf.service.shelf.Shelf.write`, or what is wrong with the keys.
    """
    entry = await asyncio.to_thread(shelf.write, name, owner, offset, data)
    if entry.complete:
        try:
            await crew.ask({"op": "keys", "owner": owner, "keys": name})
        except ThexError as error:
            if isinstance(error, ValueError):  # the file is to blame, not the server
                await asyncio.to_thread(shelf.delete, name, owner)
            raise
    return entry


async def forget(shelf: Shelf, crew: Crew, name: str, owner: str) -> None:
    """Drop a key file, on the shelf and in every worker."""
    await asyncio.to_thread(shelf.delete, name, owner)
    await crew.tell_all({"op": "forget", "owner": owner, "keys": name})
