"""What a process must be told to serve a model: weights, bounds, where keys lie; plain data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from thex_hf._paths import user_path
from thex_hf.backends.registry import get_backend
from thex_hf.circuits.protocols import DEFAULT_OPTIONS, PROTOCOL_FACTS, PlanOptions
from thex_hf.circuits.shape import BUCKETS
from thex_hf.errors import ConversionError, OptionError
from thex_hf.prepared.plan import PROTOCOL as PREPARED
from thex_hf.protocol.prepared_server import MemoryLedger
from thex_hf.serving.engine_cache import EngineCache
from thex_hf.serving.keys.folder import KeyFolder
from thex_hf.serving.keys.repository import DEFAULT, KeyRepository, Limits
from thex_hf.serving.keys.sql import KeyDatabase
from thex_hf.serving.runs import Runs
from thex_hf.serving.server import ThexServer
from thex_hf.serving.ticket_places import DatabaseLedger, FolderLedger
from thex_hf.serving.tickets import TableLedger, TicketLimits
from thex_hf.weights import (
    MATRICES,
    EncoderWeights,
    InverseRoot,
    LayerWeights,
    PolynomialTerms,
)

PREPARING_SHARE = 0.75
"""Of a worker's memory that preparations may hold between their steps."""


@dataclass(frozen=True)
class Spec:
    """A model and how it is served.

    Args:
        weights: of :func:`thex_hf.serving.spec.weights_to_bytes`.
        repository: folder or database of clients' keys.
        ranges: calibrated ranges of the checkpoint.
        backend: name of a slot backend that encrypts.
        options: of the plans, as :class:`~thex_hf.serving.server.ThexServer` takes them.
        buckets: padded lengths that are served.
        batches: many texts may come in one request, where protocol and model allow it.
        runs: at once, in each worker.
        runs_of_keys: at once, under one key file, in each worker.
        run_seconds: that a client may take for a reply.
        keys_in_memory: bytes of key files whose engines a worker keeps.
        keys_seconds: unused, after which a worker reads keys anew from the repository.
        memory: bytes that a worker may take beside the weights that all share.
        preparations: of tickets at once, in each worker, under protocol ``prepared``; each holds
            up to 1 GB where the feed-forward layer is 1,536 wide, 2 GB at 3,072. 0: as many as fit
            into ``memory``.
        limits: of the repository.
        tickets: bounds of the tickets that are kept beside the keys.
        plaintext_bytes: that encoded weights may take, see
            :class:`~thex_hf.serving.server.ThexServer`.

    Raises:
        OptionError: bounds that nothing fits, or no such bucket.
    """

    weights: bytes = field(repr=False)
    repository: str = field(repr=False)  # the address of a database may hold a password
    ranges: list[dict[str, float]] | None = field(default=None, repr=False)
    backend: str = "seal"
    options: PlanOptions = DEFAULT_OPTIONS
    buckets: tuple[int, ...] = BUCKETS
    batches: bool = False
    runs: int = 64
    runs_of_keys: int = 8
    run_seconds: float = 600.0
    keys_in_memory: int = 1 << 30
    keys_seconds: float = 3600.0
    memory: int = 4 << 30
    preparations: int = 0
    limits: Limits = DEFAULT
    tickets: TicketLimits = field(default_factory=TicketLimits)
    plaintext_bytes: float | None = None

    def __post_init__(self) -> None:
        """Check the bounds."""
        offered = PROTOCOL_FACTS[self.options.protocol].buckets
        if not self.buckets or not set(self.buckets) <= set(offered):
            raise OptionError(f"buckets should be some of {offered}, got {tuple(self.buckets)}")
        if (
            min(self.runs, self.runs_of_keys, self.run_seconds) <= 0
            or min(self.keys_in_memory, self.keys_seconds, self.memory) <= 0
            or self.preparations < 0
        ):
            raise OptionError("the bounds of a server should be above zero")
        if self.plaintext_bytes is not None and not self.plaintext_bytes >= 0:
            raise OptionError("encoded weights cannot take less than nothing")

    def to_message(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Spec:
        """The reverse of :meth:`to_message`."""
        read = {
            "options": PlanOptions(**message["options"]),
            "buckets": tuple(message["buckets"]),
            "limits": Limits(**message["limits"]),
            "tickets": TicketLimits(**message["tickets"]),
        }
        return cls(**{**message, **read})

    def server(self) -> ThexServer:
        """The model, planned for every bucket. Raises as :class:`ThexServer`."""
        server = ThexServer(
            weights_from_bytes(self.weights),
            get_backend(self.backend),
            ranges=self.ranges,
            options=self.options,
            buckets=self.buckets,
            batches=self.batches,
            runs=Runs(self.runs, self.runs_of_keys, self.run_seconds),
            engines=EngineCache(self.keys_in_memory, self.keys_seconds),
            # until one is opened beside the keys
            tickets=MemoryLedger(self.tickets.keys, seconds=self.tickets.seconds),
            plaintext_bytes=self.plaintext_bytes,
        )
        fitting = int(PREPARING_SHARE * self.memory) // max(1, server.preparation_bytes())
        server.runs.most_preparing = self.preparations or max(1, min(fitting, self.runs))
        return server

    def open_repository(self) -> KeyRepository:
        """The repository of keys, opened in this process."""
        return open_repository(self.repository, self.limits)

    def open_tickets(self) -> TableLedger | None:
        """The tickets beside the keys, opened in this process; None: the protocol has none.

        Raises:
            KeyStoreError, BackendUnavailable: as :meth:`open_repository`.
        """
        if self.options.protocol != PREPARED:
            return None
        if "://" in self.repository:
            return DatabaseLedger(self.repository, limits=self.tickets)
        return FolderLedger(user_path("keys", self.repository), limits=self.tickets)


TERMS = ("score_shift", "score_scale", "activation")
ROOTS = ("attention_root", "output_root")
FACTS, RELATIVE = "facts", "relative"


def weights_to_bytes(weights: EncoderWeights) -> bytes:
    """Every array and number of the record, as a safetensors file."""
    arrays = {"classifier": weights.classifier, "classifier_bias": weights.classifier_bias}
    terms: list[dict[str, Any] | None] = []
    for number, layer in enumerate(weights.layers):
        arrays |= {f"{number}.{name}": getattr(layer, name) for name in MATRICES}
        for name, root in zip(ROOTS, layer.roots, strict=True):
            if root is not None:
                arrays[f"{number}.{name}.coefficients"] = root.coefficients
                arrays[f"{number}.{name}.interval"] = root.interval
        polynomial = layer.polynomial
        if polynomial is None:
            terms.append(None)
            continue
        terms.append({"power": polynomial.power, "centred": polynomial.centred})
        arrays |= {f"{number}.{name}": getattr(polynomial, name) for name in TERMS}
    if weights.relative is not None:
        arrays[RELATIVE] = weights.relative
    facts = {"heads": weights.heads, "head": weights.head, "terms": terms}
    arrays[FACTS] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    return bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def weights_from_bytes(data: bytes) -> EncoderWeights:
    """The reverse of :func:`weights_to_bytes`; the fingerprint is the same.

    Raises:
        ConversionError: other bytes.
    """
    try:
        arrays = load(data)
        facts: dict[str, Any] = json.loads(arrays.pop(FACTS).tobytes())
        layers = tuple(_layer(arrays, n, terms) for n, terms in enumerate(facts["terms"]))
        return EncoderWeights(
            facts["heads"],
            layers,
            arrays["classifier"],
            arrays["classifier_bias"],
            facts["head"],
            arrays.get(RELATIVE),
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"these bytes are no encoder's weights: {error}") from error


def _layer(arrays: dict[str, Any], number: int, terms: dict[str, Any] | None) -> LayerWeights:
    polynomial = None
    if terms is not None:
        fitted = {name: arrays[f"{number}.{name}"] for name in TERMS}
        polynomial = PolynomialTerms(terms["power"], **fitted, centred=terms["centred"])
    matrices = {name: arrays[f"{number}.{name}"] for name in MATRICES}
    first, second = (_root(arrays, f"{number}.{name}.") for name in ROOTS)
    return LayerWeights(**matrices, polynomial=polynomial, attention_root=first, output_root=second)


def _root(arrays: dict[str, Any], prefix: str) -> InverseRoot | None:
    coefficients = arrays.get(prefix + "coefficients")
    return None if coefficients is None else InverseRoot(coefficients, arrays[prefix + "interval"])


def open_repository(place: str, limits: Limits) -> KeyRepository:
    """The repository in a folder, or in a database where ``place`` is an address like ``sqlite:///f``.

    Raises:
        KeyStoreError: it cannot be made or reached.
        OptionError: no place.
        BackendUnavailable: the library for databases is not installed.
    """
    if not place:
        raise OptionError("name a folder or the address of a database for clients' keys")
    if "://" in place:
        return KeyDatabase(place, limits)
    return KeyFolder(user_path("keys", place), limits)
