"""``/keys``: evaluation keys in pieces, by the hash of the whole file."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from thex_hf.service.shelf import Entry
from thex_hf.service.uploads import forget, require_begun, take_piece
from thex_hf.web.places import KeysPath, Owner, bodies_of, crew_of, settings_of, shelf_of

router = APIRouter(prefix="/keys", tags=["keys"])
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
        """What the shelf says, without its own affairs."""
        return cls(
            name=entry.name, size=entry.size, received=entry.received, complete=entry.complete
        )


@router.post("")
async def begin(request: Request, owner: Owner, file: Announcement) -> Progress:
    """Announce a key file, or ask where to go on with one."""
    shelf = shelf_of(request)
    return Progress.of(await run_in_threadpool(shelf.begin, file.name, owner, file.size))


@router.put("/{name}", openapi_extra=PIECE)
async def write(
    request: Request,
    owner: Owner,
    name: KeysPath,
    offset: Annotated[int, Query(ge=0, description="Where the piece begins: what was received.")],
) -> Progress:
    """Add a piece. The last one makes the file whole, which is then tried by a worker."""
    shelf = shelf_of(request)
    await require_begun(shelf, name, owner)
    with bodies_of(request).place():
        data = await bodies_of(request).read(request, settings_of(request).piece_bytes)
        entry = await take_piece(shelf, crew_of(request), name, owner, offset, data)
    return Progress.of(entry)


@router.get("/{name}")
async def find(request: Request, owner: Owner, name: KeysPath) -> Progress:
    """How much of a key file is here; of one that is not, nothing of size 0."""
    entry = await run_in_threadpool(shelf_of(request).find, name, owner)
    if entry is None:
        return Progress(name=name, size=0, received=0, complete=False)
    return Progress.of(entry)


@router.delete("/{name}", status_code=204)
async def delete(request: Request, owner: Owner, name: KeysPath) -> Response:
    """Forget a key file; also where there is none."""
    await forget(shelf_of(request), crew_of(request), name, owner)
    return Response(status_code=204)
