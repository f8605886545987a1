"""A plan from its JSON: how a client gets a plan without the weights.

The shared part of a plan decides all that a client does. What comes here came over a network: every
value is bounded before it is used, what follows from others is made again and compared, and the id
is computed again. A plan is refused in milliseconds, before anything large is made of it.
"""

from __future__ import annotations

import re
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from thex_hf.circuits.batched.planner import PACKING, choose_for_batch, is_batch
from thex_hf.circuits.batched.refresh_schedule import BatchedRefreshSchedule
from thex_hf.circuits.client_aided.planner import choose_parameters
from thex_hf.circuits.context import RangeBits
from thex_hf.circuits.dispatch import FORMS
from thex_hf.circuits.flood import FLOOD_BITS, waste_bits
from thex_hf.circuits.plan import FORMAT, KeyNeeds, Plan
from thex_hf.circuits.planning import RINGS
from thex_hf.circuits.polynomial.planning import EXIT_LEVEL
from thex_hf.circuits.schedule import SOFTMAX, AnyLayout, Packing, Schedule, make_schedule
from thex_hf.circuits.shape import BUCKETS, Shape
from thex_hf.circuits.single.planner import choose, few_baby_steps, roomy
from thex_hf.circuits.single.refresh_schedule import SingleRefreshSchedule
from thex_hf.ckks.packing.geometry import Geometry
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError, SecurityError, WireError
from thex_hf.weights import HEADS, POWERS

T = TypeVar("T")
MOST = {"layers": 64, "hidden": 8192, "heads": 256, "intermediate": 65536, "labels": 8192}
"""Larger models are refused: their plans would take a client's memory."""
MOST_ROTATIONS = 64
MOST_BITS = 60
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_SHORT = reprlib.Repr()
_SHORT.maxstring = 80
NOISE = ("flood_bits", "waste_bits", "margin_bits")
OPTIONS = {
    "the-x": ("softmax",),
    "polynomial": (
        "power",
        "rests",
        "exit_level",
        "stream_bits",
        "flood_bits",
        "waste_bits",
        "margin_bits",
    ),
    "batch": ("packing", "sentences"),
}


def read_plan(data: Mapping[str, Any]) -> Plan:
    """The plan whose :meth:`~thex_hf.circuits.plan.Plan.to_json` is ``data``, for a client.

    Ranges of masked values and operation counts are the server's affair and are empty.

    Raises:
        WireError: ``data`` is no plan, or its id is not that of its content.
        SecurityError: parameters below 128 bits.
    """
    try:
        plan = _read(data)
    except (SecurityError, WireError):
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WireError(f"this is not a plan: {error or type(error).__name__}") from error
    if data.get("id") != plan.id:
        raise WireError(
            f"the plan says that its id is {_shown(data.get('id'))}, its content makes it "
            f"{plan.id!r}; client and server run different versions, or the plan was altered"
        )
    return plan


def _read(data: Mapping[str, Any]) -> Plan:
    if data["format"] != FORMAT:
        raise WireError(
            f"expected a plan of format {FORMAT}, got {_shown(data['format'])}; run the same "
            f"version of the package on both sides"
        )
    protocol = _one_of(data, "protocol", tuple(FORMS))
    form = FORMS[protocol]
    names = OPTIONS[form] + (OPTIONS["batch"] if data.get("packing") else ())
    options = {name: data[name] for name in names}
    parameters = Parameters(
        _one_of(data, "ring_degree", RINGS),
        _integers(data["prime_bits"], 1, MOST_BITS, most=64),
        _integer(data["special_bits"], 1, MOST_BITS, "special_bits"),
        _integer(data["scale_bits"], 1, MOST_BITS, "scale_bits"),
    )
    parameters.require_128_bit()
    shape, batch = _shape(data, parameters.slots), "packing" in options
    aided = form == "the-x"
    if not (aided or batch):
        shape = few_baby_steps(shape)
    check_sizes(shape, aided=aided, batch=batch)
    plan = Plan(
        shape=shape,
        parameters=parameters,
        keys=_keys(data["keys"], parameters),
        bits=RangeBits((), ()),
        protocol=protocol,
        options=_options(options, form, shape, parameters),
        model=_fingerprint(data["model"]),
        schedule=Schedule((), (), shape.logits),
        operations=Counter(),
        plaintext_limbs=0,
    )
    object.__setattr__(plan, "schedule", _schedule(plan))
    if plan.schedule.top_level > parameters.top_level:
        raise PlanError(f"{parameters.top_level} levels are too few for the circuit")
    check_made(plan)
    return plan


def _shape(data: Mapping[str, Any], slots: int) -> Shape:
    tokens = _one_of(data, "tokens", BUCKETS)
    tile = _one_of(data, "tile", tuple(2**power for power in range(1, 8)))
    sizes = {name: _integer(data[name], 1, most, name) for name, most in MOST.items()}
    head = "cls" if "head" not in data else _one_of(data, "head", HEADS)
    return Shape(geometry=Geometry(slots, tile), tokens=tokens, head=head, **sizes)


def _schedule(plan: Plan) -> Schedule:
    if plan.protocol == "client-aided":
        return make_schedule(plan.shape, plan.options["softmax"])
    return (
        BatchedRefreshSchedule.of(plan).schedule
        if is_batch(plan)
        else SingleRefreshSchedule.of(plan).schedule
    )


def _options(
    found: dict[str, Any], form: str, shape: Shape, parameters: Parameters
) -> dict[str, Any]:
    """The options, each of its kind."""
    if form == "the-x":
        return {"softmax": _one_of(found, "softmax", SOFTMAX)}
    stages, levels = 2 * shape.layers, parameters.top_level
    checked: dict[str, Any] = {
        "power": _one_of(found, "power", POWERS),
        "rests": list(_integers(found["rests"], 0, stages - 2, most=stages)),
        "exit_level": _integer(found["exit_level"], 0, levels, "exit_level"),
        "stream_bits": list(_integers(found["stream_bits"], 0, MOST_BITS, most=stages)),
        "flood_bits": _integer(found["flood_bits"], 0, MOST_BITS, "flood_bits"),
        "waste_bits": _integer(found["waste_bits"], 0, MOST_BITS, "waste_bits"),
        "margin_bits": _integer(found["margin_bits"], 0, MOST_BITS, "margin_bits"),
    }
    if checked["rests"] != sorted(set(checked["rests"])):
        raise PlanError(f"rests should rise, got {checked['rests']}")
    if "packing" in found:
        texts = parameters.slots // shape.tokens
        checked["packing"] = _text(found["packing"])
        checked["sentences"] = _integer(found["sentences"], texts, texts, "sentences")
    return checked


def _keys(data: Mapping[str, Any], parameters: Parameters) -> KeyNeeds:
    top = parameters.top_level
    pairs = list(data["rotations"])
    if len(pairs) > MOST_ROTATIONS:
        raise PlanError(f"{len(pairs)} rotation keys; {MOST_ROTATIONS} are the most")
    rotations = tuple(
        (
            _integer(step, 1, parameters.slots - 1, "rotation"),
            _integer(level, 0, top, "level"),
        )
        for step, level in pairs
    )
    if [step for step, _ in rotations] != sorted({step for step, _ in rotations}):
        raise PlanError("rotation steps should rise")
    relinearisation, conjugation = (
        None if data[name] is None else _integer(data[name], 0, top, name)
        for name in ("relinearisation", "conjugation")
    )
    if not isinstance(data["public"], bool):
        raise PlanError("public should be true or false")
    return KeyNeeds(rotations, relinearisation, conjugation, data["public"])


def _integer(value: Any, least: int, most: int, name: str) -> int:
    if type(value) is not int or not least <= value <= most:
        raise PlanError(
            f"{name} should be a whole number from {least} to {most}, got {_shown(value)}"
        )
    return value


def _integers(values: Any, least: int, most_value: int, *, most: int) -> tuple[int, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) > most:
        raise PlanError(f"expected a list of at most {most} numbers")
    return tuple(_integer(value, least, most_value, "an entry") for value in values)


def _one_of(data: Mapping[str, Any], name: str, offered: tuple[T, ...]) -> T:
    value = data[name]
    for own in offered:
        if type(value) is type(own) and value == own:
            return own
    raise PlanError(f"{name} should be one of {offered}, got {_shown(value)}")


def _shown(value: Any) -> str:
    """What came, for a message: escaped, and not longer than that deserves."""
    return _SHORT.repr(value)


def _fingerprint(value: Any) -> str:
    if not isinstance(value, str) or not _FINGERPRINT.fullmatch(value):
        raise PlanError("model should be a fingerprint of 64 hex digits")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 128:
        raise PlanError("a name should be a short text")
    return value


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
        return choose_for_batch(ring, BatchedRefreshSchedule.of(plan), bits)
    return choose(ring, SingleRefreshSchedule.of(plan), bits)


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
    for visit in schedule.round_trips:
        sizes.append(size([(part.sends, part.level) for part in visit.parts], 2))
        sizes.append(size([packing for part in visit.parts for packing in part.returns], 1))
    if max(sizes) >= MOST_MESSAGE:
        raise PlanError(f"a message of {max(sizes)} bytes; {MOST_MESSAGE} are the most")
