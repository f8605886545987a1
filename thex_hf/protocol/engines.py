"""The upper socket: engines that take a whole model, and the sessions that run texts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from thex_hf.circuits.plan import Planned
from thex_hf.circuits.protocols import FORMS, SOFTMAX
from thex_hf.ckks.engine import Vector
from thex_hf.protocol.costs import Estimate
from thex_hf.protocol.result import Outcome, Result
from thex_hf.weights import EncoderWeights


class Session(Protocol):
    """Both roles on one machine, on ciphertexts or in simulation."""

    def plan(self, tokens: int) -> Planned:
        """The plan for a text of ``tokens`` tokens. Raises PlanError."""
        ...

    def run(self, embeddings: Vector) -> Result:
        """Classify one text from its embeddings ``(tokens, d)``."""
        ...

    def run_many(self, embeddings: Sequence[Vector]) -> list[Outcome]:
        """Classify several texts: in their order a result, or why that text has none."""
        ...


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do; everything else is refused by name.

    Args:
        protocols: that it runs.
        heads: classifiers that it runs: by ``[CLS]``, for every ``tokens``, or their ``mean``.
        softmax: who finishes the estimate, or the exact one.
        relu: who rectifies, where ReLU is.
        keeps_keys: keys can be kept in files.
        rings: the ring degree can be chosen.
        side_by_side: several texts run at once.
    """

    protocols: tuple[str, ...]
    heads: tuple[str, ...]
    softmax: tuple[str, ...]
    relu: tuple[str, ...]
    keeps_keys: bool
    rings: bool
    side_by_side: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


SLOTS = Capabilities(
    protocols=tuple(FORMS),
    heads=("cls", "tokens", "mean"),
    softmax=SOFTMAX,
    relu=("client",),
    keeps_keys=True,
    rings=True,
    side_by_side=True,
)
"""Of every engine that computes on slots."""


@runtime_checkable
class CircuitBackend(Protocol):
    """An engine that compiles whole maps of a model instead of computing on slots.

    ``name`` is what users write; ``learns`` says what each side learns; ``buckets`` are the padded
    lengths, in tokens; ``capabilities`` what it can do; ``library`` what encrypts, and its version.
    """

    name: str
    learns: str
    buckets: tuple[int, ...]
    capabilities: Capabilities
    library: str

    def available(self) -> tuple[bool, str]:
        """Whether it really works here, and why not."""
        ...

    def session(
        self,
        weights: EncoderWeights,
        *,
        ranges: Sequence[Mapping[str, float]] | None,
        softmax: str,
        relu: str,
        encrypted: bool,
    ) -> Session:
        """A session for one model; without ``encrypted`` it is simulated.

        ``relu`` is one of :data:`thex_hf.circuits.protocols.RELU`: who rectifies where the engine
        can do it on ciphertext.

        Raises:
            PlanError: a model that this engine does not run.
            BackendUnavailable: what it needs is not there.
        """
        ...

    def estimate(
        self,
        weights: EncoderWeights,
        tokens: Sequence[int],
        *,
        ranges: Sequence[Mapping[str, float]] | None,
        softmax: str,
        relu: str,
    ) -> list[Estimate]:
        """What texts of so many tokens cost here, in the order given; raises as ``session``."""
        ...


def capabilities_of(backend: Any) -> Capabilities:
    """What a backend of either kind can do."""
    return backend.capabilities if isinstance(backend, CircuitBackend) else SLOTS
