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
from typing import Any

import msgpack

from thex_hf.errors import KeyStoreError, WireError

FORMAT = "thex_hf.keys"
VERSION = 2  # 1 had no public key
_TEXTS = ("kind", "plan_id", "backend", "key_id")
_FIELDS = {"format", "version", "digest", "parts", *_TEXTS}


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


def _digest(parts: dict[str, bytes]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"{name}:{len(parts[name])}:".encode())
        digest.update(parts[name])
    return digest.digest()


def to_bytes(file: KeyFile) -> bytes:
    """The file's bytes."""
    texts = {name: getattr(file, name) for name in _TEXTS}
    fields = {"format": FORMAT, "version": VERSION, **texts}
    packed: bytes = msgpack.packb({**fields, "digest": _digest(file.parts), "parts": file.parts})
    return packed


def from_bytes(data: bytes, name: str) -> KeyFile:
    """Parse a key file.

    Args:
        data: all of its bytes.
        name: what to call it in messages.

    Raises:
        WireError: truncated, damaged, of another format or of a newer version.
    """
    fields = _unpack(data, name)
    if set(fields) != _FIELDS or fields["format"] != FORMAT:
        raise WireError(f"{name} is not a thex_hf key file")
    if fields["version"] != VERSION:
        raise WireError(
            f"{name} has format version {fields['version']!r}, this release reads {VERSION}; "
            f"upgrade thex_hf or make new keys"
        )
    texts, parts = [fields[text] for text in _TEXTS], fields["parts"]
    typed = isinstance(parts, dict) and all(isinstance(part, bytes) for part in parts.values())
    if not typed or not all(isinstance(text, str) for text in texts):
        raise WireError(f"{name} has fields of the wrong type; it is damaged")
    if _digest(parts) != fields["digest"]:
        raise WireError(f"{name} is damaged: its contents do not have the digest it records")
    kind, plan_id, backend, key_id = texts
    return KeyFile(kind, plan_id, backend, key_id, parts)


def _unpack(data: bytes, name: str) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_bin_len=len(data),
            max_str_len=256,
            max_map_len=16,
            max_array_len=0,
            max_ext_len=0,
        )
    except Exception:  # msgpack raises many kinds; the bytes may be secret, so no cause
        raise WireError(f"{name} is truncated or damaged; bring it back or make new keys") from None
    if not isinstance(fields, dict):
        raise WireError(f"{name} is not a thex_hf key file")
    return fields


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
