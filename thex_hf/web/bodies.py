"""Reading what a client sends: not too much, not too slowly, not too many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from thex_hf.errors import BusyError, SlowError, TooLargeError
from thex_hf.web.settings import Settings


class Bodies:
    """Reads bodies within the service's bounds.

    Args:
        settings: the bounds.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.open = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places for bodies in memory.

        Raises:
            BusyError: all are taken.
        """
        if self.open >= self._settings.bodies:
            raise BusyError(f"{self.open} requests are being read; try again later")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

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
        parts: list[bytes] = []
        size, stream = 0, aiter(request.stream())
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.body_seconds
        while True:
            try:
                silent = loop.time() + self._settings.idle_seconds
                async with asyncio.timeout_at(min(silent, end)):
                    part = await anext(stream)
            except StopAsyncIteration:
                return b"".join(parts)
            except TimeoutError:
                raise SlowError(
                    f"{size} bytes came, then nothing for {self._settings.idle_seconds:.0f} s, or "
                    f"too little in {self._settings.body_seconds:.0f} s; send it again"
                ) from None
            size += len(part)
            if size > most:
                raise TooLargeError(f"more than {most} bytes, which are the most here")
            parts.append(part)
