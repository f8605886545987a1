"""Backend ``remote``: the server half is another machine's affair."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thex_hf._progress import progress
from thex_hf.circuits.plan import Planned
from thex_hf.ckks.engine import Vector
from thex_hf.client.exchange import Call, Caller
from thex_hf.client.http import open_transport
from thex_hf.client.plans import Own
from thex_hf.errors import OptionError, TextError
from thex_hf.modeling import ThexBertClassifier
from thex_hf.protocol.result import Answer, Outcome, Transcript

REMOTE = "remote"
AT_ONCE = 4
"""Texts that are under way at once: the server computes on one while another is encrypted."""


@dataclass(frozen=True)
class Elsewhere:
    """Where the server is, and who asks.

    Args:
        url: ``https://host:port``.
        server_token: of the owner of the keys.
        verify: a file of certificates to trust instead of the usual ones.
    """

    url: str | None = None
    server_token: str | None = field(default=None, repr=False)
    verify: str | None = None

    @classmethod
    def check(cls, backend: str, **options: Any) -> Elsewhere | None:
        """What was asked for; None for a backend in this process.

        Raises:
            OptionError: an address without ``backend="remote"``, or the other way round.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if backend != REMOTE:
            if given:
                raise OptionError(
                    f"{next(iter(given))} goes with backend='remote', not {backend!r}"
                )
            return None
        if "url" not in given:
            raise OptionError("backend='remote' needs url='https://host:port' of a thex-hf serve")
        return cls(**given)


def refuse_local(**options: Any) -> None:
    """Refuse what the server decides, or what has no server to do it.

    Raises:
        OptionError: names the option.
    """
    for name, value in options.items():
        if value is not None:
            raise OptionError(f"{name} is the server's choice with backend='remote': leave it out")


class RemoteSession:
    """Runs texts on a server elsewhere; see :class:`thex_hf.protocol.engines.Session`.

    Args:
        place: where it is.
        model: the whole model, which should be the server's.
        protocol: that it should serve; None: whatever it does.
        keys: directory to keep keys in; in memory if None.

    Raises:
        ConnectionLost: no server there.
        PlanMismatch: it serves another model.
        OptionError: it serves another protocol.
    """

    def __init__(
        self, place: Elsewhere, model: ThexBertClassifier, protocol: str | None, keys: Path | None
    ) -> None:
        verify = True if place.verify is None else place.verify
        transport = open_transport(str(place.url), place.server_token, verify=verify)
        self._caller = Caller(transport, keys, wanted=protocol)
        self.protocol = self._caller.protocol
        self.check(model)

    def check(self, model: ThexBertClassifier) -> None:
        """Refuse another model than the server's. Raises PlanMismatch, ConversionError."""
        self._caller.check(Own.of(model.encoder_weights()))

    @property
    def longest(self) -> int:
        """The most tokens that the server takes."""
        return max(self._caller.plans)

    def plan(self, tokens: int) -> Planned:
        """The plan for a text of ``tokens`` tokens. Raises InputError."""
        return self._caller.plan(tokens)

    def run(self, embeddings: Vector) -> Outcome:
        """Classify one text from its embeddings ``(tokens, d)``."""
        return _outcome(self._caller.run(embeddings))

    def run_many(self, embeddings: Sequence[Vector]) -> list[Answer]:
        """Classify several texts, some at once: in their order an outcome, or why it has none."""
        with ThreadPoolExecutor(AT_ONCE) as pool, progress(len(embeddings), "texts") as bar:

            def one(text: Vector) -> Answer:
                try:
                    return self.run(text)
                except TextError as error:
                    return error
                finally:
                    bar.update()

            return list(pool.map(one, embeddings))


def _outcome(call: Call) -> Outcome:
    transcript = Transcript(
        call.logits,
        call.rounds,
        call.bytes_up,
        call.bytes_down,
        call.client_seconds,
        call.server_seconds,
    )
    return Outcome(transcript, call.plan, call.key_bytes, call.keygen_seconds, 0.0)
