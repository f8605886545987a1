"""The shelf at an address."""

from __future__ import annotations

from thex_hf._paths import user_path
from thex_hf.errors import OptionError
from thex_hf.service.disk_shelf import DiskShelf
from thex_hf.service.shelf import Limits, Shelf
from thex_hf.service.sql_shelf import SqlShelf


def open_shelf(place: str, limits: Limits) -> Shelf:
    """The shelf at a folder, or in a database where ``place`` is an address like ``sqlite:///f``.

    Raises:
        KeyStoreError: it cannot be made or reached.
        OptionError: no place.
        BackendUnavailable: the library for databases is not installed.
    """
    if not place:
        raise OptionError("name a folder or the address of a database for clients' keys")
    if "://" in place:
        return SqlShelf(place, limits)
    return DiskShelf(user_path("keys", place), limits)
