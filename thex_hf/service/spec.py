"""What a process must be told to serve a model: plain data, so that it crosses a socket."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from thex_hf.backends.registry import get_backend
from thex_hf.encrypted.shape import BUCKETS
from thex_hf.errors import OptionError
from thex_hf.service.keyring import Keyring
from thex_hf.service.opening import open_shelf
from thex_hf.service.portable import weights_from_bytes
from thex_hf.service.runs import Runs
from thex_hf.service.server import ThexServer
from thex_hf.service.shelf import DEFAULT, Limits, Shelf


@dataclass(frozen=True)
class Spec:
    """A model and how it is served.

    Args:
        weights: of :func:`thex_hf.service.portable.weights_to_bytes`.
        shelf: folder or database of clients' keys.
        ranges: calibrated ranges of the checkpoint.
        backend: name of a slot backend that encrypts.
        protocol: one that serves the model's form.
        softmax: for ``client-aided``.
        ring: ring degree for the other protocols; the cheapest if None.
        flood: for the other protocols, as :func:`thex_hf.encrypted.circuits.plan_for` has it.
        buckets: padded lengths that are served.
        runs: at once, in each worker.
        runs_of_keys: at once, under one key file, in each worker.
        run_seconds: that a client may take for a reply.
        keys_in_memory: bytes of key files whose engines a worker keeps.
        keys_seconds: unused, after which a worker reads keys anew from the shelf.
        memory: bytes that a worker may take beside the weights that all share.
        limits: of the shelf.

    Raises:
        OptionError: bounds that nothing fits, or no such bucket.
    """

    weights: bytes = field(repr=False)
    shelf: str = field(repr=False)  # the address of a database may hold a password
    ranges: list[dict[str, float]] | None = field(default=None, repr=False)
    backend: str = "seal"
    protocol: str = "client-aided"
    softmax: str = "estimate"
    ring: int | None = None
    flood: str | None = None
    buckets: tuple[int, ...] = BUCKETS
    runs: int = 64
    runs_of_keys: int = 8
    run_seconds: float = 600.0
    keys_in_memory: int = 1 << 30
    keys_seconds: float = 3600.0
    memory: int = 4 << 30
    limits: Limits = DEFAULT

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not self.buckets or not set(self.buckets) <= set(BUCKETS):
            raise OptionError(f"buckets should be some of {BUCKETS}, got {tuple(self.buckets)}")
        if (
            min(self.runs, self.runs_of_keys, self.run_seconds) <= 0
            or min(self.keys_in_memory, self.keys_seconds, self.memory) <= 0
        ):
            raise OptionError("the bounds of a server should be above zero")

    def to_message(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> Spec:
        """The reverse of :meth:`to_message`."""
        limits = Limits(**message["limits"])
        return cls(**{**message, "limits": limits, "buckets": tuple(message["buckets"])})

    def server(self) -> ThexServer:
        """The model, planned for every bucket. Raises as :class:`ThexServer`."""
        return ThexServer(
            weights_from_bytes(self.weights),
            get_backend(self.backend),
            ranges=self.ranges,
            protocol=self.protocol,
            softmax=self.softmax,
            ring_degree=self.ring,
            flood=self.flood,
            buckets=self.buckets,
            runs=Runs(self.runs, self.runs_of_keys, self.run_seconds),
            keyring=Keyring(self.keys_in_memory, self.keys_seconds),
        )

    def open_shelf(self) -> Shelf:
        """The keys' place, opened in this process."""
        return open_shelf(self.shelf, self.limits)
