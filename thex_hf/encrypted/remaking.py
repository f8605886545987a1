"""Whether a planner of ours made a plan that somebody sent, as far as one can tell without weights.

All that follows from the model's sizes and the bits of its ranges is made again and compared. The
keys follow from the circuit, which nobody runs here: they are bounded.
"""

from __future__ import annotations

from thex_hf.encrypted.batch.planner import PACKING, batch_route_of, choose_for_batch, is_batch
from thex_hf.encrypted.client_aided import choose_parameters
from thex_hf.encrypted.context import RangeBits
from thex_hf.encrypted.flood import FLOOD_BITS, waste_bits
from thex_hf.encrypted.plan import Plan
from thex_hf.encrypted.polynomial.planner import EXIT_LEVEL, choose, roomy, route_of
from thex_hf.encrypted.schedule import AnyLayout, Packing
from thex_hf.encrypted.shape import Shape
from thex_hf.errors import PlanError
from thex_hf.layout.parameters import Parameters

WORD = 8
MOST_MESSAGE = 512 << 20
"""Bytes of a message: what the wire takes."""
MOST_KEYS = 4 << 30
"""Bytes of all evaluation keys together; those of the largest ring have about 2 GB."""


def check_sizes(shape: Shape, *, aided: bool, batch: bool) -> None:
    """Refuse a tile or bucket that no planner chooses for a model of these sizes.

    Raises:
        PlanError: names what it should be.
    """
    fitted = shape.for_tokens(shape.tokens)
    wanted = fitted if aided or batch else roomy(fitted)
    if (wanted.geometry, wanted.tokens) != (shape.geometry, shape.tokens):
        raise PlanError(
            f"tile {shape.geometry.tile} for {shape.tokens} tokens, where a planner takes "
            f"{wanted.geometry.tile} for {wanted.tokens}"
        )


def check_made(plan: Plan) -> None:
    """Refuse parameters, options, keys and amounts that no planner comes to.

    Raises:
        PlanError: says what differs.
    """
    if plan.protocol != "client-aided":
        _check_options(plan)
    wanted = _parameters(plan)
    if wanted != plan.parameters:
        raise PlanError(f"{plan.parameters}, where a planner takes {wanted}")
    _check_keys(plan)
    _check_amounts(plan)


def _check_options(plan: Plan) -> None:
    options, stages = plan.options, 2 * plan.shape.layers - 1
    if len(options["stream_bits"]) != stages:
        raise PlanError(f"stream_bits should have {stages} numbers")
    if options["exit_level"] != EXIT_LEVEL or options["flood_bits"] not in FLOOD_BITS:
        raise PlanError(f"exit_level should be {EXIT_LEVEL}, flood_bits one of {FLOOD_BITS}")
    wasted = waste_bits(plan.parameters)
    if options["waste_bits"] != wasted:
        raise PlanError(f"waste_bits should be {wasted}, got {options['waste_bits']}")
    rests = plan.protocol == "refresh"
    if bool(options["rests"]) != rests:
        raise PlanError(f"{plan.protocol} should {'' if rests else 'not '}rest at the client")
    if is_batch(plan) and (options["packing"], plan.shape.head) != (PACKING, "cls"):
        raise PlanError(f"packing should be {PACKING!r}, of a model that reads [CLS]")


def _parameters(plan: Plan) -> Parameters | None:
    """What a planner chooses for the plan's circuit; None: it has nothing that carries it."""
    ring = plan.parameters.ring_degree
    if plan.protocol == "client-aided":
        return choose_parameters(plan.schedule.top_level)
    bits = RangeBits((), tuple(plan.options["stream_bits"]))
    if is_batch(plan):
        return choose_for_batch(ring, batch_route_of(plan), bits)
    return choose(ring, route_of(plan), bits)


def _check_keys(plan: Plan) -> None:
    keys, private = plan.keys, plan.protocol != "client-aided"
    if keys.relinearisation is None or keys.public != private:
        raise PlanError(
            f"{plan.protocol} needs a relinearisation key and {'a' if private else 'no'} public key"
        )
    if (keys.conjugation is not None) != private:
        raise PlanError(f"{plan.protocol} needs {'a' if private else 'no'} conjugation key")
    levels = [level for _, level in keys.rotations]
    levels += [own for own in (keys.relinearisation, keys.conjugation) if own is not None]
    # a digit for each prime, of all primes and the special one; half of it is a seed
    words = sum((level + 1) * (level + 2) for level in levels) * plan.parameters.ring_degree
    if words * WORD > MOST_KEYS:
        raise PlanError(f"keys of {words * WORD} bytes; {MOST_KEYS} are the most")


def _check_amounts(plan: Plan) -> None:
    """Refuse what needs larger messages than there are."""
    degree = plan.parameters.ring_degree

    def size(packings: list[Packing], parts: int) -> int:
        return sum(parts * own.ciphertexts * (level + 1) for own, level in packings) * degree * WORD

    schedule = plan.schedule
    answer: AnyLayout = schedule.answer
    sizes = [size(list(schedule.inputs), 1), size([(answer, 0)], 2)]
    for visit in schedule.visits:
        sizes.append(size([(part.sends, part.level) for part in visit.parts], 2))
        sizes.append(size([packing for part in visit.parts for packing in part.returns], 1))
    if max(sizes) >= MOST_MESSAGE:
        raise PlanError(f"a message of {max(sizes)} bytes; {MOST_MESSAGE} are the most")
