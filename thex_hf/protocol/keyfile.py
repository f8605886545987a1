"""One key file: a msgpack map with a fixed set of fields, mode 0600.

Fields: ``format`` (``thex_hf.keys``, first, so that a file can be recognised),
``version``, ``kind``, ``plan_id``, ``backend``, ``key_id``, ``digest`` (SHA-256 of the
parts) and ``parts`` (names to bytes).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, msgpack

from thex_hf.errors import KeyStoreError, WireError

FORMAT = "thex_hf.keys"
VERSION = 2  # 1 had no public key
Text: TypeAlias = Annotated[str, Meta(max_length=256)]


@dataclass(frozen=True)
class KeyFile:
    """The contents of one key file. The parts are not in ``repr``."""

    kind: str
    plan_id: str
    backend: str
    key_id: str
    parts: dict[str, bytes] = field(repr=False)

    def part(self, name: str) -> bytes:
        """The bytes called ``name``. Raises WireError when the file has no such part."""
        if name not in self.parts:
            raise WireError(f"{self.kind} key file lacks its part {name!r}; it is damaged")
        return self.parts[name]


class _Fields(Struct, frozen=True, forbid_unknown_fields=True):
    """The map that a file is."""

    format: Text
    version: int
    kind: Text
    plan_id: Text
    backend: Text
    key_id: Text
    digest: bytes
    parts: Annotated[dict[Text, bytes], Meta(max_length=16)]

    def __repr__(self) -> str:
        return "<fields of a key file>"  # the parts may be secret


_DECODER = msgpack.Decoder(_Fields)


def _digest(parts: dict[str, bytes]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"{name}:{len(parts[name])}:".encode())
        digest.update(parts[name])
    return digest.digest()


def to_bytes(file: KeyFile) -> bytes:
    """The file's bytes."""
    texts = (file.kind, file.plan_id, file.backend, file.key_id)
    return msgpack.encode(_Fields(FORMAT, VERSION, *texts, _digest(file.parts), file.parts))


def from_bytes(data: bytes, name: str) -> KeyFile:
    """Parse a key file.

    Args:
        data: all of its bytes.
        name: what to call it in messages.

    Raises:
        WireError: truncated, damaged, of another format or of a newer version.
    """
    try:
        fields = _DECODER.decode(data)
    except Exception:  # it may quote what it read, and that may be secret: no cause
        raise WireError(
            f"{name} is not a thex_hf key file, or is truncated or damaged; bring it back or make "
            f"new keys"
        ) from None
    if fields.format != FORMAT:
        raise WireError(f"{name} is not a thex_hf key file")
    if fields.version != VERSION:
        raise WireError(
            f"{name} has format version {fields.version}, this release reads {VERSION}; "
            f"upgrade thex_hf or make new keys"
        )
    if _digest(fields.parts) != fields.digest:
        raise WireError(f"{name} is damaged: its contents do not have the digest it records")
    return KeyFile(fields.kind, fields.plan_id, fields.backend, fields.key_id, fields.parts)


def read_file(path: Path) -> KeyFile:
    """Read a key file. Raises KeyStoreError when it cannot be read, WireError as parsing."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeyStoreError(f"cannot read the key file {path}: {error}") from error
    return from_bytes(data, str(path))


def write_file(path: Path, file: KeyFile) -> None:
    """Write a key file that is not there yet, mode 0600, as far as the disk. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(to_bytes(file))
        out.flush()
        os.fsync(out.fileno())
