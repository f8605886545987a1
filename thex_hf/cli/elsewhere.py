"""``--backend remote``: a server elsewhere, and the client's half of a model without torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from thex_hf._choices import REMOTE
from thex_hf.cli.texts import Found, Text
from thex_hf.errors import OptionError, TextError

Url = Annotated[str | None, typer.Option(help="Of a thex-hf serve, for --backend remote.")]
TOKEN = "THEX_HF_TOKEN"
Token = Annotated[
    str | None, typer.Option(help=f"That it asks for; better in the environment, as {TOKEN}.")
]
Verify = Annotated[
    Path | None, typer.Option(help="Certificates to trust, for an https server of your own.")
]


@dataclass(frozen=True)
class Server:
    """A server elsewhere, as the command line names it.

    Args:
        url: of a ``thex-hf serve``.
        token: that it asks for.
        verify: certificates to trust.
    """

    url: str
    token: str | None
    verify: Path | None

    def transport(self) -> Any:
        """What carries bytes there. Raises OptionError, BackendUnavailable."""
        from thex_hf.client.http import open_transport

        verify = True if self.verify is None else str(self.verify)
        return open_transport(self.url, self.token, verify=verify)

    def options(self) -> dict[str, Any]:
        """Of the pipeline."""
        verify = None if self.verify is None else str(self.verify)
        return {"url": self.url, "server_token": self.token, "verify": verify}

    def form(self) -> str:
        """The form of the model that it serves."""
        from thex_hf.circuits.protocols import FORMS

        info = self.transport().info()
        return str(info.get("form") or FORMS.get(str(info.get("protocol")), "the-x"))


def server_of(
    backend: str, url: str | None, token: str | None, verify: Path | None
) -> Server | None:
    """The server asked for; None for a backend in this process.

    Raises:
        OptionError: an address without ``--backend remote``, or the other way round.
    """
    if backend != REMOTE:
        if any(option is not None for option in (url, token, verify)):
            raise OptionError("--url, --token and --verify go with --backend remote")
        return None
    if not url:
        raise OptionError("--backend remote needs --url https://host:port of a thex-hf serve")
    return Server(url, os.environ.get(TOKEN) or None if token is None else token, verify)


def half_facts(folder: str, protocol: str | None) -> tuple[str, dict[str, Any]]:
    """What tells the client's half of a model from others, and the options that decide answers.

    Args:
        folder: with the half.
        protocol: that was asked for.

    Raises:
        ConversionError: the half is damaged.
    """
    from thex_hf.client.half import ClientHalf
    from thex_hf.weights import tensors_digest

    half = ClientHalf.open(folder)
    facts = [half.facts.model, *half.labels, half.tokenizer.to_str(), str(half.settings)]
    mark = tensors_digest(facts, sorted(half.tables.items()))
    return mark, {"backend": REMOTE, "protocol": protocol}


def classify_with_half(
    folder: str,
    server: Server,
    texts: Sequence[Text],
    *,
    keys: Path | None,
    protocol: str | None,
    refused: dict[str, bool],
    skip: bool,
    windows: Mapping[str, Any],
) -> Iterator[Found]:
    """Classify texts with the client's half of a model.

    Args:
        folder: with the half.
        server: that has the encoder.
        texts: to classify.
        keys: directory to keep keys in.
        protocol: that the server should run; None: whatever it does.
        refused: options that need the whole model, and whether they were given.
        skip: go on after a text that cannot be served; else all are checked first.
        windows: of :class:`thex_hf.tokens.windows.WindowOptions`, those that were given.

    Yields:
        Each text's record, or why it has none.

    Raises:
        OptionError: one of those options was given, or there are no such windows.
        ThexError: as :class:`thex_hf.client.client.ThexClient`.
    """
    from thex_hf.client.client import ThexClient
    from thex_hf.client.half import ClientHalf
    from thex_hf.tokens.windows import WindowOptions

    for name, given in refused.items():
        if given:
            raise OptionError(f"--{name} needs the whole model; {folder!r} is the client's half")
    half, cut = ClientHalf.open(folder), WindowOptions.of(**{"window": None, **windows})
    client = ThexClient(half, server.transport(), keys, protocol=protocol, windows=cut)
    for text in texts:
        try:
            client.check(*text.halves)
        except TextError as error:
            if not skip:
                raise text.refused(error) from error
    for text in texts:
        try:
            yield client.classify(*text.halves).to_json()
        except TextError as error:
            if not skip:
                raise text.refused(error) from error
            yield error
