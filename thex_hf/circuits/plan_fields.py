"""The JSON of a plan as typed records: which fields are read, of what kind, and how large.

Every value that came over a network is bounded here. What hangs together with other fields is
checked in :mod:`thex_hf.circuits.plan_reading`. Fields that are for people are not read.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert

from thex_hf._choices import POWERS
from thex_hf.circuits.protocols import CIRCUITS, RINGS, SOFTMAX
from thex_hf.circuits.shape import BUCKETS
from thex_hf.errors import PlanError
from thex_hf.weights import HEADS

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
