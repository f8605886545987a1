"""The Concrete backend as the registry offers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thex_hf.concrete import environment
from thex_hf.concrete.costs import estimate_texts
from thex_hf.concrete.process import pins
from thex_hf.concrete.session import BUCKETS, ConcreteSession
from thex_hf.protocol.costs import Estimate
from thex_hf.protocol.engines import RELU, Capabilities
from thex_hf.weights import EncoderWeights

LEARNS = (
    "client-aided protocol on Concrete: the server sees ciphertexts and the padded length only; "
    "the client sees the result of every linear map, from which the weights could be rebuilt: "
    "the text is protected, the model is not."
)


class ConcreteBackend:
    """Exact integers under TFHE, in an environment of Concrete's own."""

    name = "concrete"
    learns = LEARNS
    buckets = BUCKETS
    library = f"Concrete {pins()['concrete-python']}, in an environment of its own"
    capabilities = Capabilities(
        protocols=("client-aided",),
        heads=("cls",),
        softmax=("estimate", "exact"),
        relu=RELU,
        keeps_keys=False,
        rings=False,
        side_by_side=False,
    )

    def available(self) -> tuple[bool, str]:
        """Whether a worker starts in the environment, and why not."""
        state = environment.state()
        return state.works, state.why_not

    def session(
        self,
        weights: EncoderWeights,
        *,
        ranges: Sequence[Mapping[str, float]] | None,
        softmax: str,
        relu: str,
        encrypted: bool,
    ) -> ConcreteSession:
        """A session for one model.

        Raises:
            PlanError: not of the THE-X form, not classifying by [CLS], or not calibrated.
            BackendUnavailable: the environment is not there, if ``encrypted``.
        """
        return ConcreteSession(weights, ranges, softmax, relu, encrypted)

    def estimate(
        self,
        weights: EncoderWeights,
        tokens: Sequence[int],
        *,
        ranges: Sequence[Mapping[str, float]] | None,
        softmax: str,
        relu: str,
    ) -> list[Estimate]:
        """Costs of texts of so many tokens each, timed here; in the order given.

        Raises:
            PlanError: as :meth:`session`, or too many tokens.
            BackendUnavailable: the environment is not there.
            ChildError: a worker died.
        """
        session = ConcreteSession(weights, ranges, softmax, relu)
        try:
            return estimate_texts(session, tokens)
        finally:
            session.close()


BACKEND = ConcreteBackend()
