"""A plan from its JSON: how a client gets a plan without the weights.

The shared part of a plan decides all that a client does, and what comes here came over a network.
First it is read as typed records (:class:`PlanFields` and those in it), where every value is of
its kind and bounded; fields that are for people are not read. Then what follows from others is
made again and compared, and the id is computed again. A plan is refused in milliseconds, before
anything large is made of it.
"""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeAlias, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert, to_builtins
from msgspec.structs import astuple

from thex_hf._choices import POWERS
from thex_hf.circuits.batched.planner import PACKING, choose_for_batch, is_batch
from thex_hf.circuits.client_aided.circuit import make_schedule
from thex_hf.circuits.client_aided.planner import choose_parameters
from thex_hf.circuits.dispatch import FORMS
from thex_hf.circuits.flood import FLOOD_BITS, waste_bits
from thex_hf.circuits.masks import RangeBits
from thex_hf.circuits.plan import FORMAT, KeyNeeds, Plan
from thex_hf.circuits.polynomial.planning import EXIT_LEVEL
from thex_hf.circuits.polynomial.refresh_schedule import (
    BatchedRefreshSchedule,
    SingleRefreshSchedule,
)
from thex_hf.circuits.protocols import CIRCUITS, PROTOCOL_FACTS, RINGS, SOFTMAX
from thex_hf.circuits.shape import BUCKETS, AnyLayout, Packing, Schedule, Shape
from thex_hf.circuits.single.planner import choose, few_baby_steps, roomy
from thex_hf.ckks.packing.layout import Geometry
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError, SecurityError, WireError
from thex_hf.weights import HEADS

SIZES = ("tokens", "layers", "hidden", "heads", "intermediate", "labels", "head")
WORD = 8
MOST_MESSAGE = 512 << 20
"""Bytes of a message: what the wire takes."""
MOST_KEYS = 4 << 30
"""Bytes of all evaluation keys together; those of the largest ring have about 2 GB."""

T = TypeVar("T")
_STEPS = re.compile(r"\.(\w+)|\[(\d+)\]")
_SHORT = reprlib.Repr()
_SHORT.maxstring = 80
Bits: TypeAlias = Annotated[int, Meta(ge=1, le=60)]
NoiseBits: TypeAlias = Annotated[int, Meta(ge=0, le=60)]
Level: TypeAlias = Annotated[int, Meta(ge=0, le=63)]
Step: TypeAlias = Annotated[int, Meta(ge=1, lt=max(RINGS) // 2)]
Stage: TypeAlias = Annotated[int, Meta(ge=0, lt=128)]

OFFERED: dict[str, tuple[Any, ...]] = {
    "protocol": CIRCUITS,
    "tokens": BUCKETS,
    "tile": tuple(2**power for power in range(1, 8)),
    "ring_degree": RINGS,
    "head": HEADS,
    "softmax": SOFTMAX,
    "power": POWERS,
}
"""Fields that are one of a few values."""


class KeyFields(Struct, frozen=True, forbid_unknown_fields=True):
    """The evaluation keys that a plan needs."""

    rotations: Annotated[tuple[tuple[Step, Level], ...], Meta(max_length=64)]
    relinearisation: Level | None
    conjugation: Level | None
    public: bool


class PlanFields(Struct, frozen=True):
    """What plans of every protocol have. Larger models would take a client's memory."""

    id: str
    protocol: str
    model: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    tokens: int
    tile: int
    layers: Annotated[int, Meta(ge=1, le=64)]
    hidden: Annotated[int, Meta(ge=1, le=8192)]
    heads: Annotated[int, Meta(ge=1, le=256)]
    intermediate: Annotated[int, Meta(ge=1, le=65536)]
    labels: Annotated[int, Meta(ge=1, le=8192)]
    ring_degree: int
    prime_bits: Annotated[tuple[Bits, ...], Meta(min_length=1, max_length=64)]
    special_bits: Bits
    scale_bits: Bits
    keys: KeyFields
    head: str = "cls"


class AidedOptions(Struct, frozen=True):
    """Options of ``client-aided``."""

    softmax: str


class PolynomialOptions(Struct, frozen=True):
    """Options of the other protocols; the last two are those of a batch."""

    power: int
    rests: Annotated[list[Stage], Meta(max_length=127)]
    exit_level: Level
    stream_bits: Annotated[list[NoiseBits], Meta(max_length=127)]
    flood_bits: NoiseBits
    waste_bits: NoiseBits
    margin_bits: NoiseBits
    packing: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    sentences: int | UnsetType = UNSET


OPTIONS: dict[str, type[Struct]] = {"the-x": AidedOptions, "polynomial": PolynomialOptions}
"""By form of the model."""


def fields_of(data: Mapping[str, Any], kind: type[T]) -> T:
    """The fields of a plan's JSON that ``kind`` names.

    Raises:
        PlanError: one is missing, of another type, out of its bounds, or not on offer.
    """
    try:
        fields = convert(data, kind)
    except ValidationError as error:
        raise PlanError(_explained(str(error), data)) from None
    for name, offered in OFFERED.items():
        value = getattr(fields, name, offered[0])
        if value not in offered:
            raise PlanError(f"{name} should be one of {offered}, got {shown(value)}")
    return fields


def shown(value: Any) -> str:
    """What came, for a message: escaped, and not longer than that deserves."""
    return _SHORT.repr(value)


def _explained(said: str, data: Any) -> str:
    """A refusal of msgspec's, with the value that it is about."""
    expected, at, place = said.rpartition(" - at `$")
    if not at:
        expected, place = said, ""
    for name, index in _STEPS.findall(place):
        data = data[name or int(index)]
    expected = expected.partition(", got ")[0]
    if len(expected) > 120 or not expected.isprintable():  # it may quote the name of a field
        expected = shown(expected)
    where = place.strip(".`") or "its top"
    return (
        f"{expected} at {where}, got {shown(data)}; run the same version of the package on both "
        f"sides"
    )


def read_plan(data: Mapping[str, Any]) -> Plan:
    """The plan whose :meth:`~thex_hf.circuits.plan.Plan.to_json` is ``data``, for a client.

    Ranges of masked values and operation counts are the server's affair and are empty.

    Raises:
        WireError: ``data`` is no plan, or its id is not that of its content.
        SecurityError: parameters below 128 bits.
    """
    try:
        plan = _read(dict(data))
    except (SecurityError, WireError):
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WireError(f"this is not a plan: {error or type(error).__name__}") from error
    if data.get("id") != plan.id:
        raise WireError(
            f"the plan says that its id is {shown(data.get('id'))}, its content makes it "
            f"{plan.id!r}; client and server run different versions, or the plan was altered"
        )
    return plan


def _read(data: Mapping[str, Any]) -> Plan:
    if data["format"] != FORMAT:
        raise WireError(
            f"expected a plan of format {FORMAT}, got {shown(data['format'])}; run the same "
            f"version of the package on both sides"
        )
    fields = fields_of(data, PlanFields)
    parameters = Parameters(
        fields.ring_degree, fields.prime_bits, fields.special_bits, fields.scale_bits
    )
    parameters.require_128_bit()
    form = FORMS[fields.protocol]
    options = to_builtins(fields_of(data, OPTIONS[form]))
    aided, batch = form == "the-x", "packing" in options
    sizes = {name: getattr(fields, name) for name in SIZES}
    shape = Shape(Geometry(parameters.slots, fields.tile), **sizes)
    if not (aided or batch):
        shape = few_baby_steps(shape)
    check_sizes(shape, aided=aided, batch=batch)
    plan = Plan(
        shape=shape,
        parameters=parameters,
        keys=KeyNeeds(*astuple(fields.keys)),
        bits=RangeBits((), ()),
        protocol=fields.protocol,
        options=options,
        model=fields.model,
        schedule=Schedule((), (), shape.logits),
        operations=Counter(),
        plaintext_limbs=0,
    )
    if not aided:
        _check_options(plan)
    plan = replace(plan, schedule=_schedule(plan))
    if plan.schedule.top_level > parameters.top_level:
        raise PlanError(f"{parameters.top_level} levels are too few for the circuit")
    check_made(plan)
    return plan


def _schedule(plan: Plan) -> Schedule:
    if plan.protocol == "client-aided":
        return make_schedule(plan.shape, plan.options["softmax"])
    kind = BatchedRefreshSchedule if is_batch(plan) else SingleRefreshSchedule
    return kind.of(plan).schedule


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
    """Refuse parameters, keys and amounts that no planner comes to.

    Raises:
        PlanError: says what differs.
    """
    wanted = _parameters(plan)
    if wanted != plan.parameters:
        raise PlanError(f"{plan.parameters}, where a planner takes {wanted}")
    _check_keys(plan)
    _check_amounts(plan)


def _check_options(plan: Plan) -> None:
    """Refuse options of the polynomial protocols that no planner comes to."""
    options, stages = plan.options, 2 * plan.shape.layers - 1
    if options["rests"] != sorted(set(options["rests"])) or options["rests"][-1:] >= [stages]:
        raise PlanError(f"rests should rise and be less than {stages}, got {options['rests']}")
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
    batch = "packing" in options
    if batch and (options["packing"], plan.shape.head) != (PACKING, "cls"):
        raise PlanError(f"packing should be {PACKING!r}, of a model that reads [CLS]")
    sentences = plan.parameters.slots // plan.shape.tokens if batch else None
    if options.get("sentences") != sentences:
        raise PlanError(f"sentences should be {sentences}, got {options.get('sentences')}")


def _parameters(plan: Plan) -> Parameters | None:
    """What a planner chooses for the plan's circuit; None: it has nothing that carries it."""
    ring = plan.parameters.ring_degree
    if plan.protocol == "client-aided":
        return choose_parameters(plan.schedule.top_level)
    bits = RangeBits((), tuple(plan.options["stream_bits"]))
    if is_batch(plan):
        return choose_for_batch(ring, BatchedRefreshSchedule.of(plan), bits)
    return choose(ring, SingleRefreshSchedule.of(plan), bits)


def _check_keys(plan: Plan) -> None:
    keys, private = plan.keys, PROTOCOL_FACTS[plan.protocol].protects_model
    if keys.relinearisation is None or keys.public != private:
        raise PlanError(
            f"{plan.protocol} needs a relinearisation key and {'a' if private else 'no'} public key"
        )
    if (keys.conjugation is not None) != private:
        raise PlanError(f"{plan.protocol} needs {'a' if private else 'no'} conjugation key")
    slots, top = plan.parameters.slots, plan.parameters.top_level
    if list(keys.steps) != sorted(set(keys.steps)) or keys.steps[-1:] >= (slots,):
        raise PlanError(f"rotation steps should rise and be less than {slots}, got {keys.steps}")
    levels = [level for _, level in keys.rotations]
    levels += [level for level in (keys.relinearisation, keys.conjugation) if level is not None]
    if max(levels) > top:
        raise PlanError(f"a key is for level {max(levels)}, where the top level is {top}")
    # a digit for each prime, of all primes and the special one; half of it is a seed
    words = sum((level + 1) * (level + 2) for level in levels) * plan.parameters.ring_degree
    if words * WORD > MOST_KEYS:
        raise PlanError(f"keys of {words * WORD} bytes; {MOST_KEYS} are the most")


def _check_amounts(plan: Plan) -> None:
    """Refuse what needs larger messages than there are."""
    degree = plan.parameters.ring_degree

    def size(packings: list[Packing], parts: int) -> int:
        return (
            sum(parts * layout.ciphertexts * (level + 1) for layout, level in packings)
            * degree
            * WORD
        )

    schedule = plan.schedule
    answer: AnyLayout = schedule.answer
    sizes = [size(list(schedule.inputs), 1), size([(answer, 0)], 2)]
    for visit in schedule.round_trips:
        sizes.append(size([(part.sends, part.level) for part in visit.parts], 2))
        sizes.append(size([packing for part in visit.parts for packing in part.returns], 1))
    if max(sizes) >= MOST_MESSAGE:
        raise PlanError(f"a message of {max(sizes)} bytes; {MOST_MESSAGE} are the most")
