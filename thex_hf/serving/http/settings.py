"""Bounds of the HTTP service, and bearer tokens: who an owner of keys is.

Only hashes of the tokens stay in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from thex_hf._paths import user_path
from thex_hf.errors import AccessError, OptionError, SecurityError
from thex_hf.serving.fairness import ANYONE


@dataclass(frozen=True)
class Settings:
    """What a client may ask of the service.

    Args:
        piece_bytes: of one piece of a key file.
        json_bytes: of a body that is JSON.
        head_bytes: of the line and the headers of a request.
        bodies: that are held at once; for one owner's see
            :func:`thex_hf.serving.fairness.share_exhausted`.
        connections: open at once.
        connections_per_address: open at once from one address; behind a proxy, where all come from
            its address, as many as ``connections``.
        head_seconds: that the headers of a request may take, from the first byte or, on a new
            connection, from its beginning.
        keep_seconds: that a connection may be without a request.
        idle_seconds: that a client may be silent while it sends a body, or takes an answer.
        body_seconds: that a body may take in all.
        body_rate: bytes a second that a body comes with at least, once ``idle_seconds`` are over.
        linger_seconds: that what a client still sends is read for after it was refused.
        sweep_seconds: between two looks for keys that nobody uses.

    Raises:
        OptionError: a bound that nothing fits.
    """

    piece_bytes: int = 8 << 20
    json_bytes: int = 4 << 10
    head_bytes: int = 16 << 10
    bodies: int = 32
    connections: int = 256
    connections_per_address: int = 64
    head_seconds: float = 10.0
    keep_seconds: float = 60.0
    idle_seconds: float = 30.0
    body_seconds: float = 600.0
    body_rate: float = 4096.0
    linger_seconds: float = 2.0
    sweep_seconds: float = 3600.0

    def __post_init__(self) -> None:
        """Check that every bound is above zero."""
        wrong = [name for name, value in vars(self).items() if value <= 0]
        if wrong:
            raise OptionError(f"bounds should be above zero: {', '.join(wrong)}")

    @classmethod
    def of_connections(cls, most: int, per_address: int | None) -> Settings:
        """The usual bounds with other numbers of connections.

        Args:
            most: at once.
            per_address: from one address; a quarter of all if None.
        """
        if per_address is None:
            per_address = max(1, most // 4)
        return cls(connections=most, connections_per_address=per_address)


SHORTEST = 16
_OWNER = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


@dataclass(frozen=True)
class BearerTokens:
    """Owners by the hash of their token; without any owner, everybody is ``anyone``.

    Args:
        owners: SHA-256 of a token, and the name of its owner.
    """

    owners: Mapping[bytes, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, path: Path) -> BearerTokens:
        """Read a file of lines ``owner token``; empty lines and ``#`` are skipped.

        Raises:
            SecurityError: others may read the file, a token is short, or a line is no such line.
        """
        path = user_path("tokens", path)
        try:
            mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SecurityError(f"cannot read the file of tokens {path}: {error}") from error
        if stat.S_IMODE(mode) & 0o077:
            raise SecurityError(f"others may read the tokens in {path}: chmod 600 {path}")
        owners: dict[bytes, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or line.lstrip().startswith("#"):
                continue
            if len(words) != 2 or not _OWNER.fullmatch(words[0]) or len(words[1]) < SHORTEST:
                raise SecurityError(
                    f"line {number} of {path} should be an owner (letters, digits, _ . @ -) and a "
                    f"token of {SHORTEST} characters or more; make one with: openssl rand -hex 32"
                )
            if words[0] == ANYONE:
                raise SecurityError(f"line {number} of {path}: no owner may be called {ANYONE!r}")
            owners[_hash(words[1])] = words[0]
        if not owners:
            raise SecurityError(f"{path} names no owner; leave it out to serve everybody")
        return cls(owners)

    def owner(self, token: str | None, nobody: str) -> str:
        """Whose token it is; ``nobody`` where there are no tokens.

        Raises:
            AccessError: no token, or one that is not known.
        """
        if not self.owners:
            return nobody
        if token is None:
            raise AccessError("this server asks for a token: send Authorization: Bearer TOKEN")
        given = _hash(token)
        names = [name for known, name in self.owners.items() if hmac.compare_digest(known, given)]
        if not names:
            raise AccessError("this token is not known here; ask whoever runs the server for one")
        return names[0]


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
