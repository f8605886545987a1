"""What routes share: who asks, and where things are."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from thex_hf.serving.fairness import ANYONE
from thex_hf.serving.http.body_limits import Bodies
from thex_hf.serving.http.settings import Settings
from thex_hf.serving.keys.uploads import Uploads
from thex_hf.serving.worker_pool import Crew

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


def crew_of(request: Request) -> Crew:
    """Who works."""
    crew: Crew = request.app.state.crew
    return crew


def bodies_of(request: Request) -> Bodies:
    """Who reads bodies."""
    bodies: Bodies = request.app.state.bodies
    return bodies


def settings_of(request: Request) -> Settings:
    """The bounds."""
    settings: Settings = request.app.state.settings
    return settings
