"""Plan the ``client-aided`` protocol: THE-X as published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from thex_hf.circuits.client_aided.circuit import client_aided_encoder, make_schedule
from thex_hf.circuits.client_aided.projections import FoldedLayer, fold, smallest_scale
from thex_hf.circuits.context import Circuit, CircuitSteps, Context, Handles
from thex_hf.circuits.masks import UNCALIBRATED, Mask, RangeBits, bits_of, check_room, draw
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.planning import count_operations, no_mask, shape_of
from thex_hf.circuits.protocols import RINGS
from thex_hf.circuits.shape import Shape
from thex_hf.ckks.engine import ServerEngine
from thex_hf.ckks.packing.layout import Layout
from thex_hf.ckks.parameters import MAX_MODULUS_BITS_128, Parameters
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.errors import PlanError
from thex_hf.weights import EncoderWeights

VALUE_ROOM_BITS = 12  # at level 0 a value must stay below 2**(VALUE_ROOM_BITS - 1)
SCALE_BITS = range(36, 41)  # below: the reciprocal network gets noisy; above: float64's limit


def choose_parameters(top_level: int) -> Parameters:
    """The smallest ring whose 128-bit budget carries ``top_level`` levels.

    Raises:
        PlanError: no ring carries that many levels.
    """
    for ring in RINGS:
        budget = MAX_MODULUS_BITS_128[ring]
        # first prime and special prime exceed the scale by VALUE_ROOM_BITS
        scale = min((budget - 2 * VALUE_ROOM_BITS) // (top_level + 2), SCALE_BITS[-1])
        if scale in SCALE_BITS:
            primes = (scale + VALUE_ROOM_BITS,) + (scale,) * top_level
            special = min(60, budget - sum(primes))
            return Parameters(ring, primes, special, scale)
    raise PlanError(
        f"the circuit needs {top_level} levels; the largest ring ({RINGS[-1]}) does not carry "
        f"them at 128-bit security"
    )


def client_aided_circuit(
    shape: Shape,
    bits: RangeBits,
    softmax: str,
    layers: tuple[FoldedLayer, ...],
    draw: Callable[[Layout, int], Mask] = draw,
) -> Circuit:
    """The circuit with its weights."""

    def start(engine: ServerEngine, cache: PlaintextCache, request: list[Handles]) -> CircuitSteps:
        return client_aided_encoder(
            Context(engine, cache, shape, bits, softmax, draw), layers, request
        )

    return start


def make_plan(
    weights: EncoderWeights, tokens: int, bits: RangeBits, *, softmax: str = "estimate"
) -> Plan:
    """Plan the ``client-aided`` protocol for one bucket.

    Args:
        weights: the converted encoder.
        tokens: padded length, one of :data:`thex_hf.circuits.shape.BUCKETS`.
        bits: ranges of masked values.
        softmax: one of :data:`thex_hf.circuits.protocols.SOFTMAX`.

    Raises:
        PlanError: the circuit fits no parameter set, or a masked value fits no modulus.
    """
    layers = fold(weights)
    levels = make_schedule(shape_of(weights, tokens, RINGS[0]), softmax).top_level
    parameters = choose_parameters(levels)
    shape = shape_of(weights, tokens, parameters.ring_degree)
    schedule = make_schedule(shape, softmax)
    for index, value_bits in enumerate(bits.value):
        check_room(parameters, 1, value_bits, f"layer {index} value")
    for index, stream_bits in enumerate(bits.stream[1:], start=1):
        check_room(parameters, 1, stream_bits, f"layer {index} stream")
    for index, shown_bits in enumerate(bits.shown):
        _check_shown(parameters, shown_bits, index)
    circuit = client_aided_circuit(shape, bits, softmax, layers, no_mask)
    record = count_operations(circuit, schedule, shape.geometry.slots)
    return Plan.of(
        record,
        shape=shape,
        parameters=parameters,
        bits=bits,
        protocol="client-aided",
        options={"softmax": softmax},
        model=weights.fingerprint(),
        schedule=schedule,
    )


def _check_shown(parameters: Parameters, bits: int, layer: int) -> None:
    room = parameters.prime_bits[0] - parameters.scale_bits - 1
    if bits > room:
        raise PlanError(
            f"layer {layer}: attention scores or FFN values reach 2**{bits} but only 2**{room} "
            f"fits the last prime; convert the model again with more weight decay, which keeps "
            f"them small (THE-X, section 4.5)"
        )


KEYS = ("value", "layer_out", "scores", "ffn_pre")


def range_bits(weights: EncoderWeights, ranges: Sequence[Mapping[str, float]] | None) -> RangeBits:
    """Bits ``b`` such that each value stays below ``2**b``, twice the range seen.

    Args:
        weights: the encoder; the stream is carried divided by the attention norm's scale.
        ranges: for each layer the calibrated ``value``, ``layer_out``, ``scores`` and
            ``ffn_pre``; None if the checkpoint was not calibrated: then 64 is assumed for all.

    Raises:
        PlanError: an affine norm's scale is too near zero to divide by.
    """
    value, stream, shown = [], [0], []
    for index, layer in enumerate(weights.layers):
        seen = ranges[index] if ranges else dict.fromkeys(KEYS, UNCALIBRATED)
        value.append(bits_of(seen["value"]))
        if index < len(weights.layers) - 1:  # the last layer's stream is not carried on
            stream.append(bits_of(seen["layer_out"] / smallest_scale(layer, index)))
        shown.append(bits_of(max(seen["scores"], seen["ffn_pre"])))
    return RangeBits(tuple(value), tuple(stream), tuple(shown))
