"""Reading what a client sends: not too much, not too slowly, not too many at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from thex_hf.errors import BusyError, SlowError, TooLargeError
from thex_hf.serving.fairness import share_exhausted
from thex_hf.serving.http.settings import Settings


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
