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
from typing import Annotated, TypeAlias

from msgspec import DecodeError, Meta, Struct, ValidationError, msgpack

from thex_hf.errors import KeyMismatch, PlanMismatch, WireError

VERSION = 1
TYPES = ("request", "visit", "reply", "answer")
MAX_BYTES = 512 * 2**20
Id: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_SHORT_LIST = Meta(max_length=65536)
_HEX = "32 hex digits"
_MUST_BE = {
    "v": VERSION,
    "t": f"one of {TYPES}",
    "plan": _HEX,
    "key": _HEX,
    "run": _HEX,
    "step": "a count",
    "parts": "a list of lists of bytes",
}


class Message(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="v",
    tag=VERSION,
    rename={"type": "t"},
):
    """One message between client and server; ``parts`` are ciphertexts as bytes."""

    type: Annotated[str, Meta(pattern=rf"\A({'|'.join(TYPES)})\Z")]
    plan: Id
    key: Id
    run: Id
    step: Annotated[int, Meta(ge=0)]
    parts: Annotated[list[Annotated[list[bytes], _SHORT_LIST]], _SHORT_LIST]

    def to_bytes(self) -> bytes:
        """Serialise: the one encoding of a message."""
        return msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Message:
        """Parse and check form (not contents) of bytes from the other side.

        Raises:
            WireError: not a message of this format and version.
        """
        if not isinstance(data, bytes):
            raise WireError(f"expected bytes, got {type(data).__name__}")
        if len(data) > MAX_BYTES:
            raise WireError(f"a message may have {MAX_BYTES} bytes at most, got {len(data)}")
        try:
            message = _DECODER.decode(data)
        except ValidationError as error:
            raise WireError(_refusal(str(error))) from None
        except DecodeError as error:
            raise WireError(
                f"the bytes are not a message ({error}); were they cut or altered?"
            ) from error
        if message.to_bytes() != data:
            raise WireError(
                "the message is not in its canonical encoding: fields in order and once, each in "
                "its shortest form; send what Message.to_bytes() writes"
            )
        return message

    @classmethod
    def of(cls, data: bytes | Message) -> Message:
        """The message that ``data`` is, or that its bytes are. Raises as :meth:`from_bytes`."""
        return data if isinstance(data, Message) else cls.from_bytes(data)

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

    def require_lists(self, expected: int) -> None:
        """Check the number of parts. Raises WireError: another one."""
        if len(self.parts) != expected:
            raise WireError(f"expected {expected} parts in the message, got {len(self.parts)}")

    def require_counts(self, expected: list[int]) -> None:
        """Check the number of ciphertexts in each part.

        Raises:
            WireError: other counts than the schedule's.
        """
        got = [len(part) for part in self.parts]
        if got != expected:
            raise WireError(f"expected {expected} ciphertexts in the parts, got {got}")


_DECODER = msgpack.Decoder(Message)
_PLACE = re.compile(r"(?:Invalid value (\d+))?.* - at `\$\.(\w+)[\[\]\d]*`", re.DOTALL)


def _refusal(said: str) -> str:
    """What msgspec says is wrong, in words of this format."""
    place = _PLACE.fullmatch(said)
    if place is None or place[2] not in _MUST_BE:
        return f"a message must be a map of 7 fields: {said[:80]!r}; was it cut or altered?"
    if place[1]:
        return (
            f"message format {place[1]} is not supported, expected {VERSION}; install the same "
            f"version of thex_hf on both sides"
        )
    return f"message field {place[2]!r} must be {_MUST_BE[place[2]]}; was it cut or altered?"
