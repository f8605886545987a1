"""``/predict``: one message of the protocol in, the next one out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from thex_hf.web.places import KeysHeader, Owner, RunHeader, bodies_of, crew_of

router = APIRouter(prefix="/predict", tags=["predict"])
MEDIA = "application/octet-stream"
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
MESSAGE = {"requestBody": {"required": True, "content": {MEDIA: BINARY}}}
ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "A visit, or the answer.", "content": {MEDIA: BINARY}}
}


@router.post("", openapi_extra=MESSAGE, responses=ANSWER, response_class=Response)
async def answer(request: Request, owner: Owner, keys: KeysHeader, run: RunHeader) -> Response:
    """Take a request or a reply, and run to the next visit or to the answer."""
    with bodies_of(request).place(owner):
        data = await bodies_of(request).read(request, request.app.state.most_bytes)
        order = {"op": "answer", "owner": owner, "keys": keys, "run": run, "data": data}
        out = await crew_of(request).ask(order)
    return Response(out["data"], media_type=MEDIA)


@router.delete("", status_code=204)
async def give_up(request: Request, owner: Owner, keys: KeysHeader, run: RunHeader) -> Response:
    """Give a run up; also where there is none."""
    order = {"op": "give_up", "owner": owner, "keys": keys, "run": run}
    with bodies_of(request).place(owner):
        await crew_of(request).give_up(order)
    return Response(status_code=204)
