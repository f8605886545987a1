"""``/keys``: evaluation keys in pieces, by their hash. ``/predict``: a message in, the next out.

What a client sends is read by :class:`BodyLimits`: not too much, too slowly or too many at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thex_hf.errors import BusyError, SlowError, TooLargeError
from thex_hf.serving.fairness import ANYONE, share_exhausted
from thex_hf.serving.http.settings import Settings
from thex_hf.serving.keys.repository import Entry
from thex_hf.serving.keys.uploads import Uploads
from thex_hf.serving.worker import Job
from thex_hf.serving.worker_pool import WorkerPool


class BodyLimits:
    """Reads bodies within the service's bounds.

    Args:
        settings: the bounds.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Bodies that are held."""
        return self._open.total()

    @contextmanager
    def admit(self, owner: str) -> Iterator[None]:
        """Hold a place among the requests that take time: a body in memory, work in a worker.

        Args:
            owner: whose request it is; see :func:`thex_hf.serving.fairness.share_exhausted`.

        Raises:
            BusyError: all are taken, or this owner's share of them.
        """
        owned = self._open[owner]
        if share_exhausted(owner, owned, self.open, self._settings.bodies):
            raise BusyError(
                f"{owned} requests of yours are being read or answered; try again when one is done"
            )
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            self._open += Counter()  # forgets whose count is zero

    async def read(self, request: Request, most: int) -> bytes:
        """A whole body.

        Raises:
            TooLargeError: more than ``most`` bytes, announced or sent.
            SlowError: it takes too long.
            ClientDisconnect: nobody is there any more.
        """
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            raise TooLargeError(f"a body of {announced} bytes; {most} are the most here")
        bounds, parts, size = self._settings, list[bytes](), 0
        stream, loop = aiter(request.stream()), asyncio.get_running_loop()
        begin = loop.time()
        while True:
            slow = begin + min(bounds.body_seconds, bounds.idle_seconds + size / bounds.body_rate)
            try:
                async with asyncio.timeout_at(min(slow, loop.time() + bounds.idle_seconds)):
                    part = await anext(stream)
            except StopAsyncIteration:
                return b"".join(parts)
            except TimeoutError:
                raise SlowError(
                    f"{size} bytes came in {loop.time() - begin:.0f} s; expected "
                    f"{bounds.body_rate:.0f} a second, a pause of {bounds.idle_seconds:.0f} s at "
                    f"most, and all within {bounds.body_seconds:.0f} s; send it again"
                ) from None
            size += len(part)
            if size > most:
                raise TooLargeError(f"more than {most} bytes, which are the most here")
            parts.append(part)


BEARER = HTTPBearer(auto_error=False, description="The token of an owner of keys.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]


async def owner_of(request: Request, credentials: Credentials) -> str:
    """Who asks. Raises AccessError."""
    token = None if credentials is None else credentials.credentials
    owner: str = request.app.state.tokens.owner(token, ANYONE)
    request.state.owner = owner
    return owner


Owner = Annotated[str, Depends(owner_of)]
KeysPath = Annotated[
    str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the key file, in hex.")
]
KeysHeader = Annotated[
    str, Header(alias="Thex-Keys", pattern="^[0-9a-f]{64}$", description="SHA-256 of the key file.")
]
RunHeader = Annotated[
    str, Header(alias="Thex-Run", pattern="^[0-9a-f]{32}$", description="The run's id.")
]


def uploads_of(request: Request) -> Uploads:
    """Where keys go."""
    uploads: Uploads = request.app.state.uploads
    return uploads


def pool_of(request: Request) -> WorkerPool:
    """Who works."""
    pool: WorkerPool = request.app.state.pool
    return pool


def bodies_of(request: Request) -> BodyLimits:
    """Who reads bodies."""
    bodies: BodyLimits = request.app.state.bodies
    return bodies


def settings_of(request: Request) -> Settings:
    """The bounds."""
    settings: Settings = request.app.state.settings
    return settings


keys = APIRouter(prefix="/keys", tags=["keys"])
PIECE = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Announcement(BaseModel):
    """A key file that will come."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file, in hex.")
    size: int = Field(ge=1, description="Bytes in all.")


class Progress(BaseModel):
    """How much of a key file is here."""

    name: str
    size: int
    received: int
    complete: bool

    @classmethod
    def of(cls, entry: Entry) -> Progress:
        """What clients may know of an entry."""
        return cls(
            name=entry.name, size=entry.size, received=entry.received, complete=entry.complete
        )


ANNOUNCEMENT = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Announcement.model_json_schema()}},
    }
}


@keys.post("", openapi_extra=ANNOUNCEMENT)
async def begin(request: Request, owner: Owner) -> Progress:
    """Announce a key file, or ask where to go on with one."""
    with bodies_of(request).admit(owner):
        data = await bodies_of(request).read(request, settings_of(request).json_bytes)
        file = _announced(data)
        return Progress.of(await uploads_of(request).begin(file.name, owner, file.size))


@keys.put("/{name}", openapi_extra=PIECE)
async def write(
    request: Request,
    owner: Owner,
    name: KeysPath,
    offset: Annotated[int, Query(ge=0, description="Where the piece begins: what was received.")],
) -> Progress:
    """Add a piece. The last one makes the file whole, which is then tried by a worker."""
    with bodies_of(request).admit(owner):
        await uploads_of(request).require(name, owner)
        data = await bodies_of(request).read(request, settings_of(request).piece_bytes)
        return Progress.of(await uploads_of(request).write(name, owner, offset, data))


@keys.get("/{name}")
async def find(request: Request, owner: Owner, name: KeysPath) -> Progress:
    """How much of a key file is here; of one that is not, nothing of size 0."""
    with bodies_of(request).admit(owner):
        entry = await uploads_of(request).find(name, owner)
    if entry is None:
        return Progress(name=name, size=0, received=0, complete=False)
    return Progress.of(entry)


@keys.delete("/{name}", status_code=204)
async def delete(request: Request, owner: Owner, name: KeysPath) -> Response:
    """Forget a key file; also where there is none."""
    with bodies_of(request).admit(owner):
        await uploads_of(request).forget(name, owner)
    return Response(status_code=204)


def _announced(data: bytes) -> Announcement:
    """Read here and not by the framework, which would read any body before the token."""
    try:
        return Announcement.model_validate_json(data)
    except ValidationError as error:
        wrong = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(wrong) from error


predictions = APIRouter(prefix="/predict", tags=["predict"])
MEDIA = "application/octet-stream"
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
MESSAGE = {"requestBody": {"required": True, "content": {MEDIA: BINARY}}}
ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "A visit, or the answer.", "content": {MEDIA: BINARY}}
}


@predictions.post("", openapi_extra=MESSAGE, responses=ANSWER, response_class=Response)
async def answer(request: Request, owner: Owner, keys: KeysHeader, run: RunHeader) -> Response:
    """Take a request or a reply, and run to the next visit or to the answer."""
    with bodies_of(request).admit(owner):
        data = await bodies_of(request).read(request, request.app.state.most_bytes)
        result = await pool_of(request).ask(Job("answer", owner, keys, run, data))
    return Response(result["data"], media_type=MEDIA)


@predictions.delete("", status_code=204)
async def give_up(request: Request, owner: Owner, keys: KeysHeader, run: RunHeader) -> Response:
    """Give a run up; also where there is none."""
    with bodies_of(request).admit(owner):
        await pool_of(request).give_up(owner, keys, run)
    return Response(status_code=204)
