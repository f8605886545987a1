"""Choose refresh points, primes and ring: what the planners of one text and of many share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from thex_hf.circuits.context import Circuit
from thex_hf.circuits.flood import LOGIT_BITS, flood_options, strong_enough, too_weak
from thex_hf.circuits.masks import SPARE_BITS, UNCALIBRATED, RangeBits, bits_of
from thex_hf.circuits.plan import KEY_SWITCHES, Plan
from thex_hf.circuits.planning import count_operations
from thex_hf.circuits.polynomial.maps import PolynomialLayers
from thex_hf.circuits.polynomial.refresh_schedule import RefreshSchedule
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.ckks.parameters import MAX_MODULUS_BITS_128, Parameters
from thex_hf.weights import EncoderWeights

Kind = TypeVar("Kind", bound=RefreshSchedule)

EXIT_LEVEL = 1
SECONDS = {"key switch": 1.25e-9, "other": 8e-9}
"""Of SEAL on one core: a key switch by ``N log N`` times limbs times limbs plus one, any other verb
by ``N`` times limbs."""

SpecialBits: TypeAlias = Callable[[int, int, int], int | None]
"""Bits of the key-switching prime, from those of the scale, of the first prime, and of what is
left; None: too few are left."""


def stream_bits(weights: EncoderWeights, ranges: Sequence[Mapping[str, float]] | None) -> RangeBits:
    """For each stage, bits of the stream at its end: after attention, and after the FFN."""
    out = []
    for index in range(len(weights.layers)):
        seen = ranges[index] if ranges else {}
        after = ranges[index + 1] if ranges and index + 1 < len(ranges) else {}
        out.append(bits_of(seen.get("attention_out", UNCALIBRATED)))
        out.append(bits_of(after.get("stream_in", UNCALIBRATED)))
    return RangeBits((), tuple(out[:-1]))


def most_points(bits: RangeBits, protocol: str) -> int:
    """The most refresh points there can be."""
    return 0 if protocol == "one-shot" else len(bits.stream)


def largest_scale(
    ring: int,
    refreshes: RefreshSchedule,
    bits: RangeBits,
    scales: range,
    special_bits: SpecialBits,
) -> Parameters | None:
    """The largest scale that the ring's 128-bit budget allows, or None when it is too small.

    The first prime holds the logits, and exceeds what is refreshed by
    :data:`~thex_hf.circuits.masks.SPARE_BITS`.
    """
    widest = max((bits.stream[stage] for stage in refreshes.points), default=0)
    for scale in reversed(scales):
        first = scale + LOGIT_BITS
        if refreshes.points:
            first = max(first, widest + SPARE_BITS)
        primes = (first,) + (scale,) * refreshes.top_level
        special = special_bits(scale, first, MAX_MODULUS_BITS_128[ring] - sum(primes))
        if special is not None:
            return Parameters(ring, primes, special, scale)
    return None


@dataclass(frozen=True)
class Planner(Generic[Kind]):
    """Finds the cheapest plan of one model and bucket.

    Args:
        weights: the converted encoder.
        layers: its maps for one text, by which the flood is sized.
        bits: of what may be refreshed.
        options: the protocol, and the rings and the flood to choose among.
        choices: of refresh points, in a ring.
        parameters: of a ring for a choice; None where it is too small.
        circuit: of a choice.
        packing: further options of the plan.
    """

    weights: EncoderWeights
    layers: PolynomialLayers
    bits: RangeBits
    options: PlanOptions
    choices: Callable[[int], list[Kind]]
    parameters: Callable[[int, Kind, RangeBits], Parameters | None]
    circuit: Callable[[Kind], Circuit]
    packing: Callable[[Kind], dict[str, Any]] = lambda _: {}

    def cheapest(self, cost: Callable[[Plan], float]) -> Plan | None:
        """The cheapest plan of the first ring that carries the circuit and the flood.

        Returns:
            None if no ring carries the circuit.

        Raises:
            PlanError: the circuit fits, but a strong flood does not.
        """
        most = None
        for ring in self.options.rings:
            most, plans = strong_enough(list(self._plans(ring)), self.options.flood, most)
            if plans:
                return min(plans, key=cost)
        if most is not None:
            raise too_weak(self.options, most)
        return None

    def _plans(self, ring: int) -> Iterator[Plan]:
        """Plans of the choices that suit the protocol and that a ring carries."""
        for refreshes in self.choices(ring):
            if self.options.protocol == "refresh" and not refreshes.points and self.bits.stream:
                continue
            parameters = self.parameters(ring, refreshes, self.bits)
            if parameters is not None:
                yield self._plan(refreshes, parameters)

    def _plan(self, refreshes: Kind, parameters: Parameters) -> Plan:
        schedule = refreshes.schedule
        options = {
            **self.packing(refreshes),
            "power": refreshes.power,
            "rests": list(refreshes.points),
            "exit_level": refreshes.exit_level,
            "stream_bits": list(self.bits.stream),
            **flood_options(self.layers, parameters, self.bits, self.options.flood),
        }
        return Plan.of(
            count_operations(self.circuit(refreshes), schedule, refreshes.shape.geometry.slots),
            shape=refreshes.shape,
            parameters=parameters,
            bits=self.bits,
            protocol=self.options.protocol,
            options=options,
            model=self.weights.fingerprint(),
            schedule=schedule,
        )


def operation_seconds(plan: Plan, others: Mapping[str, float]) -> float:
    """About how long the operations of a plan take, without encoding: for comparing plans.

    Args:
        plan: with its counts.
        others: seconds by ``N`` times limbs of verbs that take longer than :data:`SECONDS` says.
    """
    degree = plan.parameters.ring_degree
    total = 0.0
    for (verb, level), n in plan.operations.items():
        limbs = level + 1
        if verb in KEY_SWITCHES:
            total += n * SECONDS["key switch"] * degree * math.log2(degree) * limbs * (limbs + 1)
        elif verb != "encode":
            total += n * others.get(verb, SECONDS["other"]) * degree * limbs
    return total
