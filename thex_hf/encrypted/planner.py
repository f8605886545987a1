"""Make a plan: run the circuit on the counting engine and choose parameters."""

from __future__ import annotations

from collections import Counter

import numpy as np

from thex_hf.encrypted.context import Context, RangeBits
from thex_hf.encrypted.encoder import encode
from thex_hf.encrypted.folding import FoldedLayer, fold
from thex_hf.encrypted.masks import Mask, check_room
from thex_hf.encrypted.plan import Plan
from thex_hf.encrypted.schedule import Schedule, make_schedule
from thex_hf.encrypted.shape import Shape
from thex_hf.errors import PlanError
from thex_hf.layout.counting import CountingEngine, Shadow
from thex_hf.layout.geometry import Geometry
from thex_hf.layout.layout import Layout
from thex_hf.layout.parameters import MAX_MODULUS_BITS_128, Parameters
from thex_hf.layout.plains import PlainStore
from thex_hf.weights import EncoderWeights

RINGS = (8192, 16384, 32768)
VALUE_ROOM_BITS = 12  # at level 0 a value must stay below 2**(VALUE_ROOM_BITS - 1)
SCALE_BITS = range(
    36, 41
)  # below: the reciprocal network gets too noisy; above: float64 is the limit


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


def make_plan(
    weights: EncoderWeights, tokens: int, bits: RangeBits, *, softmax: str = "estimate"
) -> Plan:
    """Plan the ``client-aided`` protocol for one bucket.

    Args:
        weights: the converted encoder.
        tokens: padded length, one of :data:`thex_hf.encrypted.shape.BUCKETS`.
        bits: ranges of masked values.
        softmax: one of :data:`thex_hf.encrypted.schedule.SOFTMAX`.

    Raises:
        PlanError: the circuit fits no parameter set, or a masked value fits no modulus.
    """
    layers = fold(weights)
    levels = make_schedule(_shape(weights, tokens, RINGS[0]), softmax).top_level
    parameters = choose_parameters(levels)
    shape = _shape(weights, tokens, parameters.ring_degree)
    schedule = make_schedule(shape, softmax)
    for index, value_bits in enumerate(bits.value):
        check_room(parameters, 1, value_bits, f"layer {index} value")
    for index, stream_bits in enumerate(bits.stream[1:], start=1):
        check_room(parameters, 1, stream_bits, f"layer {index} stream")
    for index, shown_bits in enumerate(bits.shown):
        _check_shown(parameters, shown_bits, index)
    record = count(shape, schedule, layers, bits, softmax)
    return Plan(
        shape=shape,
        parameters=parameters,
        rotations=tuple(sorted(record.rotations)),
        bits=bits,
        softmax=softmax,
        model=weights.fingerprint(),
        operations=Counter(record.operations),
        plaintext_limbs=record.plaintext_limbs,
    )


def _shape(weights: EncoderWeights, tokens: int, ring: int) -> Shape:
    return Shape(
        geometry=Geometry.fit(ring // 2, tokens),
        tokens=tokens,
        layers=len(weights.layers),
        hidden=weights.hidden,
        heads=weights.heads,
        intermediate=weights.intermediate,
        labels=weights.labels,
    )


def _check_shown(parameters: Parameters, bits: int, layer: int) -> None:
    room = parameters.prime_bits[0] - parameters.scale_bits - 1
    if bits > room:
        raise PlanError(
            f"layer {layer}: attention scores or FFN values reach 2**{bits} but only 2**{room} "
            f"fits the last prime; convert the model again with more weight decay, which keeps "
            f"them small (THE-X, section 4.5)"
        )


def _no_mask(layout: Layout, _bits: int) -> Mask:
    zeros = np.zeros((layout.tokens, layout.features))
    vectors = layout.pack(zeros)
    return Mask(vectors, vectors, zeros)


def count(
    shape: Shape,
    schedule: Schedule,
    layers: tuple[FoldedLayer, ...],
    bits: RangeBits,
    softmax: str,
) -> CountingEngine:
    """Run the circuit once on the counting engine, checking every level of the schedule.

    Raises:
        PlanError: a visit's handles are not at the level that the schedule states.
    """
    engine = CountingEngine(shape.geometry.slots)
    drive(Context(engine, PlainStore(), shape, bits, softmax, _no_mask), schedule, layers)
    return engine


def drive(
    run: Context, schedule: Schedule, layers: tuple[FoldedLayer, ...], *, check: bool = True
) -> None:
    """Take the circuit through its whole schedule on shadows.

    Raises:
        PlanError: ``check`` is set and what the circuit sends is not what the schedule says.
    """
    request = [[Shadow(level)] * layout.ciphertexts for layout, level in schedule.request]
    steps = encode(run, layers, request)
    sent = next(steps)
    for visit in schedule.visits:
        for part, handles in zip(visit.parts, sent, strict=True):
            expected = [Shadow(part.level)] * part.sends.ciphertexts
            if check and handles != expected:
                raise PlanError(f"{visit.name}: the circuit sends {handles}, not {expected}")
        reply = [
            [[Shadow(level)] * layout.ciphertexts for layout, level in part.returns]
            for part in visit.parts
        ]
        try:
            sent = steps.send(reply)
        except StopIteration as stop:
            if check and stop.value != [Shadow(0)] * schedule.answer.ciphertexts:
                raise PlanError(f"the circuit ends with {stop.value}, not logits") from None
