"""The client for programs that have an event loop.

A client's time goes into arithmetic on ciphertexts, which would hold the loop up wherever it is
called, and into waiting for the server. Both happen in threads here, by the code of
:mod:`thex_hf.client.client`: one implementation of the exchange, one of the connection.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from thex_hf.client.client import Answer, ThexClient
from thex_hf.client.half import ClientHalf
from thex_hf.client.spreading import AT_ONCE
from thex_hf.client.transport import Transport
from thex_hf.errors import OptionError, TextError, ThexError

T = TypeVar("T")

_call = threading.local()
"""``_call.gone`` of a thread: an event, set when nobody waits for its text any longer."""


class AsyncThexClient:
    """Classifies texts on a server that never sees them, and leaves the event loop free.

    ``client = await AsyncThexClient.open(half, transport)``, then ``await client.classify(text)``
    from any number of tasks. A task that is cancelled gives its run up at the next message, so that
    the server need not keep it; tickets that are being prepared are prepared to the end, for the
    texts that follow.

    Args:
        client: that does the work. Its server should be one of :meth:`open`, for cancelled tasks to
            be given up; with any other they are computed to the end.
        at_once: texts that are under way at once; further ones wait.

    Raises:
        OptionError: ``at_once`` is no positive number.
    """

    def __init__(self, client: ThexClient, at_once: int = AT_ONCE) -> None:
        if at_once < 1:
            raise OptionError(f"at_once should be 1 or more texts, got {at_once}")
        self.client = client
        self._threads = ThreadPoolExecutor(at_once, "thex_hf")

    @classmethod
    async def open(
        cls, half: ClientHalf, server: Transport, *, at_once: int = AT_ONCE, **options: Any
    ) -> Self:
        """Ask the server for its plans.

        Args:
            half: tokenizer and embeddings of the model.
            server: what carries the bytes, such as :class:`thex_hf.client.http.HttpTransport`.
            at_once: texts that are under way at once.
            **options: of :class:`~thex_hf.client.client.ThexClient`.

        Raises:
            ThexError: as that class.
            OptionError: ``at_once`` is no positive number.
        """
        made = await asyncio.to_thread(ThexClient, half, _Stoppable(server), **options)
        return cls(made, at_once)

    async def classify(self, text: str, pair: str | None = None) -> Answer:
        """The answer to a text. Raises as :meth:`.client.ThexClient.classify`."""
        return await self._in_thread(lambda: self.client.classify(text, pair))

    async def classify_many(self, texts: Sequence[str]) -> list[Answer | TextError]:
        """Answers to several texts, as :meth:`.client.ThexClient.classify_many`.

        It counts as one text under way. Requests that have begun when the task is cancelled are
        computed to the end.
        """
        return await self._in_thread(lambda: self.client.classify_many(texts))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        gone = threading.Event()

        def run() -> T:
            _call.gone = gone
            return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except asyncio.CancelledError:
            gone.set()
            raise


class _GivenUp(ThexError):
    """Nobody waits for the answer any longer."""


class _Stoppable:
    """A server whose next message is not sent once its call is given up."""

    def __init__(self, server: Transport) -> None:
        self._server = server

    def info(self) -> dict[str, Any]:
        """See :class:`Transport`."""
        return self._server.info()

    def send_keys(self, data: bytes) -> str:
        """See :class:`Transport`."""
        return self._server.send_keys(data)

    def answer(self, data: bytes, keys: str, run: str) -> bytes:
        """See :class:`Transport`. Raises _GivenUp: the task that asked was cancelled."""
        gone = getattr(_call, "gone", None)  # a thread of the client's own has none
        if gone is not None and gone.is_set():
            raise _GivenUp("the text was given up: its task was cancelled")
        return self._server.answer(data, keys, run)

    def give_up(self, keys: str, run: str) -> None:
        """See :class:`Transport`."""
        self._server.give_up(keys, run)
