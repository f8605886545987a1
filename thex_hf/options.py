"""How texts are run: modes, protocols, engine and all that goes with them, in one record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from thex_hf._choices import REMOTE, one_of
from thex_hf._paths import user_path
from thex_hf.backends.registry import find_backend
from thex_hf.bundled import DEFAULT_FORM
from thex_hf.circuits.dispatch import check_form
from thex_hf.circuits.protocols import (
    FORMS,
    PROTOCOLS,
    RELU,
    PlanOptions,
    protocols_of,
    serves,
)
from thex_hf.errors import ConversionError, OptionError, PlanError
from thex_hf.prepared.plan import PROTOCOL as PREPARED
from thex_hf.prepared.plan import check_engine as check_prepared_engine
from thex_hf.processes import check_processes
from thex_hf.protocol.engines import capabilities_of


def choose_protocol(value: Any, form: str) -> str:
    """The protocol asked for, or the one that suits a model of ``form``.

    Raises:
        OptionError: it is unknown, or cannot serve that form.
    """
    if value is None:
        fitting = protocols_of(form)
        if not fitting:
            raise ConversionError(
                f"no protocol runs a model that is {form}; finish the conversion: thex-hf convert"
            )
        return fitting[0]
    protocol = one_of("protocol", value, PROTOCOLS)
    try:
        check_form(form, protocol)
    except PlanError as error:
        raise OptionError(str(error)) from error
    return protocol


def check_gigabytes(name: str, value: Any) -> float:
    """Refuse what is no amount of memory.

    Raises:
        OptionError: no number of 0 or more.
    """
    if type(value) in (int, float) and value >= 0:
        return float(value)
    raise OptionError(
        f"{name} must be a number of gigabytes, 0 or more, or None for half of the free memory; "
        f"got {value!r}"
    )


@dataclass(frozen=True)
class RunOptions:
    """Options of a pipeline that are set once; the command, scores and services read the same ones.

    Nothing is checked before :meth:`resolved` is told which model they are for.

    Args:
        backend: engine, ``seal`` by default; or ``concrete``, which runs models of the THE-X form
            that classify by [CLS], in an environment of its own; or ``remote``, a server elsewhere.
        protocol: ``client-aided`` (the default) or ``prepared`` for models of the THE-X form;
            ``refresh`` (the default), ``one-shot`` or ``prepared`` for those of the polynomial
            form; ``prepared`` for those of the normalised form.
        softmax: ``estimate`` (THE-X's, finished by the client), ``exact`` (by the client) or
            ``estimate-on-server`` (as published: the client does nothing but ReLU; more
            rounds, more levels, the same result); the checkpoint's by default. For
            ``client-aided`` only.
        relu: ``server`` for ReLU of the last layer on ciphertext, by look-up tables; for backend
            ``concrete``. The client does it by default.
        ring: ring degree N for ``refresh`` and ``one-shot``: larger rings carry more levels
            between visits; the smallest that will do by default.
        flood: how far the noise on the logits of ``refresh`` and ``one-shot`` hides the error of
            the circuit: ``light`` (the default), or ``strong``, by at least 20 bits, which needs
            a larger ring.
        processes: how many the server's work is spread over; all usable cores by default.
        keys: directory to keep keys in, and tickets; in memory when None. Never a model folder.
        refill: for ``prepared``: when fewer tickets are left, a thread prepares the next batch;
            with 0 none are prepared while texts come, and a text without a ticket is refused. By
            default a text that finds no ticket waits until a batch is prepared.
        weights_memory: gigabytes that the server's encoded weights may take, of all its processes
            together; half of the memory that is free by default. What does not fit is encoded anew
            for every text.
        url: of a server that ``thex-hf serve`` runs, for backend ``remote``.
        server_token: that this server asks for; ``token`` is the Hub's.
        verify: file of certificates to trust for that server, instead of the usual ones.
    """

    backend: str = "seal"
    protocol: str | None = None
    softmax: str | None = None
    relu: str = "client"
    ring: int | None = None
    flood: str | None = None
    processes: int | None = None
    weights_memory: float | None = None
    keys: str | os.PathLike[str] | None = None
    refill: int | None = None
    url: str | None = None
    server_token: str | None = field(default=None, repr=False)
    verify: str | None = None

    @classmethod
    def take(cls, options: dict[str, Any]) -> RunOptions:
        """Those among many options, which are taken out of them."""
        return cls(**{name: options.pop(name) for name in NAMES if name in options})

    @property
    def remote(self) -> bool:
        """Whether a server elsewhere computes."""
        return self.backend == REMOTE

    @property
    def plaintext_bytes(self) -> float | None:
        """Bytes that encoded weights may take. Raises OptionError: no number of gigabytes."""
        if self.weights_memory is None:
            return None
        return 1e9 * check_gigabytes("weights_memory", self.weights_memory)

    @property
    def key_folder(self) -> Path | None:
        """Where keys are kept. Raises OptionError: the path means nothing."""
        return None if self.keys is None else user_path("keys", self.keys)

    def given(self) -> Mapping[str, Any]:
        """Those that are not what they are by default."""
        return {
            one.name: value
            for one in fields(self)
            if (value := getattr(self, one.name)) != one.default
        }

    def resolved(self, form: str) -> RunOptions:
        """With the protocol for a model of a form; the server's own affair with ``remote``.

        Args:
            form: ``the-x``, ``polynomial`` or ``normalised``.

        Raises:
            OptionError: an option is not on offer, does not go with another, or is the server's.
            BackendUnavailable: no backend of that name.
            ConversionError: no protocol runs a model of that form.
        """
        if self.remote:
            self._check_remote()
            return self
        for name in ELSEWHERE:
            if getattr(self, name) is not None:
                raise OptionError(f"{name} goes with backend='remote', not {self.backend!r}")
        chosen = replace(self, protocol=choose_protocol(self.protocol, form))
        chosen.check_engine()
        if chosen.softmax is not None and form != "the-x":
            raise OptionError(
                f"softmax is an option of models of the THE-X form, this one is {form}: leave it "
                f"out"
            )
        return chosen

    def bundled_form(self) -> str:
        """The form of the bundled model that is meant where no model is named.

        Returns:
            The form that the protocol serves first. Without a protocol that of ``refresh``, under
            which text and model are protected; the THE-X form where an option or an engine asks
            for it.

        Raises:
            BackendUnavailable: no backend of that name.
        """
        if isinstance(self.protocol, str) and self.protocol in FORMS:
            return FORMS[self.protocol]
        if self.softmax is not None or self.relu != "client":
            return "the-x"
        if self.remote:
            return DEFAULT_FORM
        able = capabilities_of(find_backend(self.backend)).protocols
        return DEFAULT_FORM if any(serves(one, DEFAULT_FORM) for one in able) else "the-x"

    def plan(self, softmax: str = "estimate") -> PlanOptions:
        """The choices of a plan, of the protocol that has been chosen.

        Args:
            softmax: the model's, where none was asked for.

        Raises:
            OptionError: one that is not on offer.
        """
        return PlanOptions(str(self.protocol), self.softmax or softmax, self.ring, self.flood)

    def check_engine(self) -> None:
        """Refuse what the engine cannot do under the protocol, which must have been chosen.

        Raises:
            OptionError: says which option, and what to do.
            BackendUnavailable: no backend of that name.
        """
        backend, protocol = self.backend, self.protocol
        can = capabilities_of(find_backend(backend))
        relu = one_of("relu", self.relu, RELU)
        if protocol not in can.protocols:
            raise OptionError(
                f"backend {backend!r} serves the protocol {', '.join(can.protocols)} only, not "
                f"{protocol}; use backend 'seal', or a model of the THE-X form"
            )
        if relu not in can.relu:
            raise OptionError(
                f"relu='server' needs tables on ciphertext, which backend 'concrete' has; with "
                f"backend {backend!r} the client rectifies, or polynomials take the place of ReLU"
            )
        aided = protocol == "client-aided"
        if self.softmax is not None and not (aided or protocol == PREPARED):
            raise OptionError(f"softmax is an option of client-aided, not of {protocol}")
        if self.softmax == "estimate-on-server" and self.softmax not in can.softmax:
            raise OptionError(
                f"with backend {backend!r} the client finishes the softmax: "
                f"{' or '.join(can.softmax)}, not {self.softmax}"
            )
        if self.keys is not None and not can.keeps_keys:
            raise OptionError(
                f"backend {backend!r} makes new keys for every session and keeps none: leave out "
                f"keys"
            )
        if self.keys is not None and backend == "clear":
            raise OptionError("backend 'clear' encrypts nothing and makes no keys: leave out keys")
        if self.processes is not None:
            check_processes(self.processes)
            if not can.side_by_side:
                raise OptionError(
                    f"backend {backend!r} has processes of its own: leave out processes"
                )
        if self.plaintext_bytes is not None:
            if not can.rings:
                raise OptionError(
                    f"backend {backend!r} encodes no weights: leave out weights_memory"
                )
            if protocol == PREPARED:
                raise OptionError("prepared encodes no weights: leave out weights_memory")
        if self.ring is not None and not can.rings:
            raise OptionError(f"backend {backend!r} has no ring to choose: leave out ring")
        if self.ring is not None and protocol not in RINGED:
            raise OptionError(
                f"ring is for refresh and one-shot; {protocol} has the one that it needs: leave "
                f"it out"
            )
        if self.flood is not None and aided:
            raise OptionError(
                "flood is for refresh and one-shot; client-aided protects no model: leave it out"
            )
        if self.flood is not None and protocol not in RINGED:
            raise OptionError(f"flood is for refresh and one-shot; {protocol} floods always")
        if protocol == PREPARED:
            check_prepared_engine(backend)
        elif self.refill is not None:
            raise refill_without_tickets(protocol)
        self._check_refill()
        self.plan()

    def _check_remote(self) -> None:
        """Refuse what the server decides, or what has no server to do it."""
        if self.url is None:
            raise OptionError("backend='remote' needs url='https://host:port' of a thex-hf serve")
        for name in ("softmax", "ring", "flood", "processes", "weights_memory", "relu"):
            if name in self.given():
                raise OptionError(
                    f"{name} is the server's choice with backend='remote': leave it out"
                )
        self._check_refill()

    def _check_refill(self) -> None:
        if self.refill is not None and (type(self.refill) is not int or self.refill < 0):
            raise OptionError(
                f"refill must be a whole number of tickets, 0 or more, got {self.refill!r}"
            )


def refill_without_tickets(protocol: str | None) -> OptionError:
    """``refill`` was given for a protocol that has none."""
    return OptionError(
        f"refill is a number of tickets, which protocol 'prepared' has and {protocol!r} has not: "
        f"leave it out"
    )


RINGED = ("refresh", "one-shot")
"""Protocols whose ring and flooding can be chosen."""
NAMES = tuple(one.name for one in fields(RunOptions))
ELSEWHERE = ("url", "server_token", "verify")
"""What only a server elsewhere has."""
