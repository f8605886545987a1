"""The wire format: msgpack maps with a version, ids and ciphertexts. No pickle.

Every message is one map with exactly these fields:

``v`` format version (1); ``t`` type: ``request``, ``visit``, ``reply`` or ``answer``;
``plan`` and ``key`` ids; ``run`` 32 hex digits chosen by the client; ``step`` counting
visits from 0 (a request has step 0, the answer the number of visits); ``parts`` a list of
lists of ciphertexts, whose counts the plan's schedule fixes. A message has one encoding only:
fields in this order, each in msgpack's shortest form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgpack

from thex_hf.errors import KeyMismatch, PlanMismatch, WireError

VERSION = 1
TYPES = ("request", "visit", "reply", "answer")
MAX_BYTES = 512 * 2**20
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Message:
    """One message between client and server; ``parts`` are ciphertexts as bytes."""

    type: str
    plan: str
    key: str
    run: str
    step: int
    parts: list[list[bytes]]

    def to_bytes(self) -> bytes:
        """Serialise."""
        return _pack(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Message:
        """Parse and check form (not contents) of bytes from the other side.

        Raises:
            WireError: not a message of this format and version.
        """
        fields = _unpack(data)
        if set(fields) != {"v", "t", "plan", "key", "run", "step", "parts"}:
            raise WireError(
                f"a message must have 7 fields, got {len(fields)}; was it cut or altered?"
            )
        if fields["v"] != VERSION:
            raise WireError(
                f"message format {fields['v']!r} is not supported, expected {VERSION}; "
                f"install the same version of thex_hf on both sides"
            )
        if fields["t"] not in TYPES:
            raise WireError(f"unknown message type, expected one of {TYPES}")
        for name in ("plan", "key", "run"):
            if not isinstance(fields[name], str) or not _ID.fullmatch(fields[name]):
                raise WireError(f"message field {name!r} must be 32 hex digits")
        if type(fields["step"]) is not int or fields["step"] < 0:
            raise WireError("message field 'step' must be a count")
        parts = fields["parts"]
        if not isinstance(parts, list) or not all(_is_bytes_list(part) for part in parts):
            raise WireError("message field 'parts' must be a list of lists of bytes")
        message = cls(
            fields["t"], fields["plan"], fields["key"], fields["run"], fields["step"], parts
        )
        if _pack(message) != data:
            raise WireError(
                "the message is not in its canonical encoding: fields in order and once, each in "
                "its shortest form; send what Message.to_bytes() writes"
            )
        return message

    def require(self, kind: str, plan: str, key: str) -> None:
        """Check that this message is of ``kind`` and belongs to ``plan`` and ``key``.

        Raises:
            WireError: another kind. PlanMismatch: another plan. KeyMismatch: other keys.
        """
        if self.type != kind:
            raise WireError(f"expected a {kind} message, got {self.type!r}")
        if self.plan != plan:
            raise PlanMismatch(
                f"the message was made for plan {self.plan}, this side uses {plan}; both sides "
                f"must load the same model, bucket and version of thex_hf"
            )
        if self.key != key:
            raise KeyMismatch(
                f"the message was made with keys {self.key}, this side uses {key}; send the "
                f"evaluation keys that belong to the secret key"
            )

    def require_counts(self, expected: list[int]) -> None:
        """Check the number of ciphertexts in each part.

        Raises:
            WireError: other counts than the schedule's.
        """
        got = [len(part) for part in self.parts]
        if got != expected:
            raise WireError(f"expected {expected} ciphertexts in the parts, got {got}")


def _pack(message: Message) -> bytes:
    """The one encoding of a message."""
    fields = {
        "v": VERSION,
        "t": message.type,
        "plan": message.plan,
        "key": message.key,
        "run": message.run,
        "step": message.step,
        "parts": message.parts,
    }
    return bytes(msgpack.packb(fields, use_bin_type=True))


def _is_bytes_list(part: object) -> bool:
    return isinstance(part, list) and all(isinstance(item, bytes) for item in part)


def _unpack(data: bytes) -> dict[str, Any]:
    if not isinstance(data, bytes):
        raise WireError(f"expected bytes, got {type(data).__name__}")
    if len(data) > MAX_BYTES:
        raise WireError(f"a message may have {MAX_BYTES} bytes at most, got {len(data)}")
    try:
        fields = msgpack.unpackb(
            data, raw=False, strict_map_key=True, max_map_len=16, max_array_len=65536, max_ext_len=0
        )
    except Exception as error:
        raise WireError(
            f"the bytes are not a message ({type(error).__name__}); were they cut or altered?"
        ) from error
    if not isinstance(fields, dict):
        raise WireError(f"a message must be a map, got {type(fields).__name__}")
    return fields
