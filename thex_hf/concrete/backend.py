"""The Concrete backend as the registry offers it, and what a text costs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thex_hf._progress import progress
from thex_hf.circuits.protocols import RELU
from thex_hf.concrete import environment
from thex_hf.concrete.process import pins
from thex_hf.concrete.session import BUCKETS, ConcreteSession
from thex_hf.protocol.costs import Estimate
from thex_hf.protocol.engines import Capabilities
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


def estimate_texts(session: ConcreteSession, sizes: Sequence[int]) -> list[Estimate]:
    """Costs of texts of each size in tokens.

    Every map runs once on the rows of the smallest bucket; seconds and bytes of a map grow with
    its rows. Takes about as long as one short text, and the keys of the session.

    Raises:
        PlanError: too many tokens, or a model of another form or head.
        ChildError: a worker died.
    """
    client, server = session.roles()
    small = session.plan(BUCKETS[0])
    ready = session.prepare(small)
    seconds, up, down = {}, {}, {}
    with progress(len(small.maps), "timing circuits") as bar:
        for name, map_ in small.maps.items():
            frame = map_.frame
            server.seconds = 0.0
            request = client.encrypt(frame, np.zeros((frame.rows, sum(frame.widths)), np.int64))
            reply = server.run(name, request)
            seconds[name], up[name], down[name] = server.seconds, len(request), len(reply)
            bar.update()
    out = []
    for size in sizes:
        large = session.plan(size)
        ratios = [
            (name, grown.frame.rows / map_.frame.rows)
            for (name, map_), grown in zip(small.maps.items(), large.maps.values(), strict=True)
        ]
        out.append(
            Estimate(
                tokens=large.tokens,
                protocol="client-aided",
                ring_degree=0,
                modulus_bits=0,
                levels=0,
                rounds=len(large.maps),
                key_switches=0,
                key_bytes=ready.key_bytes,
                up_bytes=_total(up, ratios),
                down_bytes=_total(down, ratios),
                plaintext_bytes=0,
                prepare_seconds=ready.prepare,
                server_seconds=sum(seconds[name] * ratio for name, ratio in ratios),
            )
        )
    return out


def _total(bytes_of: Mapping[str, int], ratios: Sequence[tuple[str, float]]) -> int:
    return round(sum(bytes_of[name] * ratio for name, ratio in ratios))
