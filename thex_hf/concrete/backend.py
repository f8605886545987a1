"""The Concrete backend: both roles on one machine, or simulated on integers; and its costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from thex_hf._progress import progress
from thex_hf.circuits.plan import Facts
from thex_hf.circuits.protocols import RELU
from thex_hf.concrete import environment
from thex_hf.concrete.circuits import Bits, LayerFrames, LayerMaps, encoder_maps, frames
from thex_hf.concrete.environment import pins
from thex_hf.concrete.quantise import Block, Frame, Integers, Linear
from thex_hf.concrete.roles import ClientRole, MapRequests, ServerRole, classify, drive
from thex_hf.errors import PlanError, TextError
from thex_hf.protocol.costs import Estimate
from thex_hf.protocol.engines import Capabilities
from thex_hf.protocol.result import Outcome, Result
from thex_hf.weights import Array, EncoderWeights

LEARNS = (
    "client-aided protocol on Concrete: the server sees ciphertexts and the padded length only; "
    "the client sees the result of every linear map, from which the weights could be rebuilt: "
    "the text is protected, the model is not."
)
BUCKETS = (8, 16, 32, 64, 128)
"""Padded lengths; results are large, so short texts have a bucket of their own."""


@dataclass(frozen=True)
class Circuit:
    """All maps of a model for one bucket."""

    tokens: int
    layers: tuple[LayerMaps, ...]

    @cached_property
    def frames(self) -> tuple[LayerFrames, ...]:
        """What the client knows."""
        return tuple(frames(layer) for layer in self.layers)

    @cached_property
    def maps(self) -> dict[str, Linear | Block]:
        """Every map by name, in the order of use."""
        return {map_.frame.name: map_ for layer in self.layers for map_ in layer.all()}

    @property
    def facts(self) -> Facts:
        """What reports tell."""
        return Facts(self.tokens)

    def to_json(self) -> dict[str, Any]:
        """Sizes and bits of every map, as JSON values."""
        return {
            "kind": "circuits",
            "tokens": self.tokens,
            "rounds": len(self.maps),
            "maps": [
                {
                    "name": name,
                    "rows": map_.frame.rows,
                    "inputs": sum(map_.frame.widths),
                    "outputs": map_.frame.outputs,
                    "input_bits": max(q.most for q in map_.frame.inputs).bit_length() + 1,
                    **map_.bits,
                }
                for name, map_ in self.maps.items()
            ],
        }


@dataclass(frozen=True)
class Prepared:
    """Seconds of compiling and of making keys, where that was not done before, and the keys."""

    prepare: float
    keygen: float
    key_bytes: int


@dataclass
class ConcreteSession:
    """Runs texts through a model's maps.

    Args:
        weights: the converted encoder.
        ranges: calibrated ranges of the checkpoint.
        softmax: ``estimate`` or ``exact``.
        relu: ``server`` to rectify the one row of the last layer there, by look-up tables.
        encrypted: on ciphertexts; else on the integers that these would hold, which gives the
            very same result as long as no decryption fails; but for ``relu="server"``, where
            Concrete rounds a value between two steps of a table to either of them.

    Raises:
        PlanError: a model that this backend does not run.
        BackendUnavailable: the environment is not there, if ``encrypted``.
    """

    weights: EncoderWeights
    ranges: Sequence[Mapping[str, float]] | None
    softmax: str = "estimate"
    relu: str = "client"
    encrypted: bool = True
    _circuits: dict[int, Circuit] = field(default_factory=dict, repr=False)
    _server: ServerRole | None = field(default=None, repr=False)
    _client: ClientRole | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is not calibrated; find the environment."""
        if not self.ranges:
            raise PlanError(
                "backend 'concrete' needs the calibrated ranges of the checkpoint; this one has "
                "none. Convert the model again."
            )
        if self.encrypted:
            python = environment.python()
            self._server, self._client = ServerRole(python), ClientRole(python)

    def plan(self, tokens: int) -> Circuit:
        """The maps for a text of ``tokens`` tokens.

        Raises:
            PlanError: too many tokens, or a model of another form or head.
        """
        size = next((size for size in BUCKETS if tokens <= size), None)
        if size is None:
            raise PlanError(f"{tokens} tokens do not fit the largest bucket of {BUCKETS[-1]}")
        if size not in self._circuits:
            assert self.ranges is not None
            maps = encoder_maps(self.weights, self.ranges, size, Bits(relu=self.relu))
            self._circuits[size] = Circuit(size, maps)
        return self._circuits[size]

    def run(self, embeddings: Array) -> Result:
        """Classify one text from its embeddings ``(tokens, d)``.

        Raises:
            ChildError: a worker died or refused; the next run starts a fresh one.
        """
        circuit = self.plan(len(embeddings))
        requests = classify(circuit.frames, self.weights.heads, embeddings, self.softmax)
        if self.encrypted:
            return self._execute(circuit, requests)
        begin = time.perf_counter()
        logits = drive(requests, lambda frame, integers: circuit.maps[frame.name].apply(integers))
        seconds = time.perf_counter() - begin
        return Result(logits, circuit, len(circuit.maps), 0, 0, 0.0, seconds)

    def run_many(self, embeddings: Sequence[Array]) -> list[Outcome]:
        """Classify several texts, one after the other: a result each, or why it has none."""
        with progress(len(embeddings), "texts") as bar:
            outcomes: list[Outcome] = []
            for text in embeddings:
                try:
                    outcomes.append(self.run(text))
                except TextError as error:
                    outcomes.append(error)
                bar.update()
        return outcomes

    def _execute(self, circuit: Circuit, requests: MapRequests) -> Result:
        client, server = self.roles()
        ready = self.prepare(circuit)
        server.seconds, up, down = 0.0, 0, 0

        def answer(frame: Frame, integers: Integers) -> Integers:
            nonlocal up, down
            request = client.encrypt(frame, integers)
            reply = server.run(frame.name, request)
            up, down = up + len(request), down + len(reply)
            return client.decrypt(frame, reply)

        begin = time.perf_counter()
        logits = drive(requests, answer)
        seconds = time.perf_counter() - begin - server.seconds
        return Result(
            logits,
            circuit,
            len(circuit.maps),
            up,
            down,
            seconds,
            server.seconds,
            ready.key_bytes,
            ready.keygen,
            ready.prepare,
        )

    def roles(self) -> tuple[ClientRole, ServerRole]:
        """Both sides.

        Raises:
            PlanError: of a simulation, which has none.
        """
        if self._client is None or self._server is None:
            raise PlanError("a simulation has no client and server of its own")
        return self._client, self._server

    def prepare(self, circuit: Circuit) -> Prepared:
        """Compile and make keys where that is not done.

        Raises:
            ChildError: Concrete refused a map, or a worker died.
        """
        client, server = self.roles()
        prepare = keygen = 0.0
        key_bytes = 0
        todo = [name for name in circuit.maps if not (server.has(name) and client.has(name))]
        with progress(len(todo), "compiling circuits") as bar:
            for name, map_ in circuit.maps.items():
                begin = time.perf_counter()
                made = server.compile(map_)["client"]
                middle = time.perf_counter()
                keys = client.open(name, made).evaluation
                server.take_keys(name, keys)
                key_bytes += len(keys)
                if name in todo:
                    prepare += middle - begin
                    keygen += time.perf_counter() - middle
                    bar.update()
        return Prepared(prepare, keygen, key_bytes)

    def close(self) -> None:
        """Stop both workers."""
        for role in (self._client, self._server):
            if role is not None:
                role.close()


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
        spent = sum(seconds[name] * ratio for name, ratio in ratios)
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
                server_seconds=spent,
                server_seconds_range=(spent, spent),
            )
        )
    return out


def _total(bytes_of: Mapping[str, int], ratios: Sequence[tuple[str, float]]) -> int:
    return round(sum(bytes_of[name] * ratio for name, ratio in ratios))
