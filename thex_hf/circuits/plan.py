"""The plan: everything client and server must agree on, and what a run will cost.

A plan is derived from model, length and protocol; it is never stored with the weights.
Its id is a hash of all that the two sides must share: a message that carries another id
is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from thex_hf.circuits.masks import HIDING_BITS, RangeBits
from thex_hf.circuits.shape import Schedule, Shape
from thex_hf.ckks.counting import CountingEngine, Section
from thex_hf.ckks.parameters import Parameters

FORMAT = 2
KEY_SWITCHES = ("rotate", "conjugate", "relinearise")


@dataclass(frozen=True)
class KeyNeeds:
    """The evaluation keys of a circuit, and the highest level each is used at.

    Args:
        rotations: (step, level), by step; each step needs a key of its own.
        relinearisation: level of the relinearisation key.
        conjugation: level of the conjugation key; None: not needed.
        public: whether the server encrypts zeros, for which it needs the public key.
    """

    rotations: tuple[tuple[int, int], ...]
    relinearisation: int | None
    conjugation: int | None = None
    public: bool = False

    @classmethod
    def of(cls, record: CountingEngine) -> KeyNeeds:
        """What a run on the counting engine used."""
        return cls(
            tuple(sorted(record.rotation_levels.items())),
            record.relinearisation_level,
            record.conjugation_level,
            record.rerandomises,
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """The rotation steps."""
        return tuple(step for step, _ in self.rotations)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "rotations": [list(pair) for pair in self.rotations],
            "relinearisation": self.relinearisation,
            "conjugation": self.conjugation,
            "public": self.public,
        }


@dataclass(frozen=True)
class Plan:
    """One circuit for one bucket.

    Args:
        shape: sizes and geometry.
        parameters: CKKS parameters.
        keys: the exact evaluation keys.
        bits: ranges of masked values.
        protocol: ``client-aided``, ``refresh`` or ``one-shot``.
        options: what else decides the circuit, as JSON values.
        model: fingerprint of the encoder's weights.
        schedule: round trips and packings; follows from shape, protocol and options.
        operations: counts by verb and level.
        plaintext_limbs: 64-bit words per ring coefficient that encoded weights take.
        sections: the operations of each stretch of the circuit, in order.
    """

    shape: Shape
    parameters: Parameters
    keys: KeyNeeds
    bits: RangeBits
    protocol: str
    options: Mapping[str, Any]
    model: str
    schedule: Schedule = field(compare=False)
    operations: Counter[tuple[str, int]] = field(compare=False)
    plaintext_limbs: int = field(compare=False)
    sections: Mapping[Section, Counter[tuple[str, int]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @classmethod
    def of(cls, record: CountingEngine, **facts: Any) -> Plan:
        """The plan of a circuit that was run on the counting engine."""
        return cls(
            keys=KeyNeeds.of(record),
            operations=record.operations,
            plaintext_limbs=record.plaintext_limbs,
            sections={name: Counter(counts) for name, counts in record.sections.items()},
            **facts,
        )

    @property
    def rotations(self) -> tuple[int, ...]:
        """The exact set of rotation steps."""
        return self.keys.steps

    @property
    def tokens(self) -> int:
        """The padded length."""
        return self.shape.tokens

    @property
    def hidden(self) -> int:
        """Size of an embedding."""
        return self.shape.hidden

    def shared(self) -> dict[str, Any]:
        """What both sides must agree on, as plain JSON values."""
        shape = self.shape
        head = {} if shape.head == "cls" else {"head": shape.head}  # ids older than other heads
        return {
            "format": FORMAT,
            "protocol": self.protocol,
            "model": self.model,
            **self.options,
            "tokens": shape.tokens,
            "tile": shape.geometry.tile,
            "layers": shape.layers,
            "hidden": shape.hidden,
            "heads": shape.heads,
            "intermediate": shape.intermediate,
            "labels": shape.labels,
            **head,
            **self._parameters_json(),
            "keys": self.keys.to_json(),
            **self._hiding_json(),
        }

    def _hiding_json(self) -> dict[str, Any]:
        if self.protocol == "refresh":
            return {"hiding": "uniform"}  # modulo the whole modulus, in every coefficient
        return {"hiding_bits": HIDING_BITS}

    @property
    def wrap_probability(self) -> float:
        """At most how likely a run is to fail because a blinded value wraps around the modulus.

        A coefficient ``m`` plus one that is uniform modulo ``Q`` does with probability
        ``|m| / Q``, and the ``N`` of a ciphertext whose slots stay within ``x`` add up to
        ``sqrt(N) x scale`` at most. Nothing of it shows what is hidden.
        """
        parameters = self.parameters
        total = 0.0
        for stage, round_trip in zip(
            self.options.get("rests", ()), self.schedule.round_trips, strict=False
        ):
            (part,) = round_trip.parts
            values = (
                math.sqrt(2 * parameters.ring_degree) * 2.0 ** self.options["stream_bits"][stage]
            )
            room = parameters.modulus_bits(part.level) - 1 - parameters.scale_bits
            total += part.sends.ciphertexts * values / 2.0**room
        return total

    def _parameters_json(self) -> dict[str, Any]:
        parameters = self.parameters
        return {
            "ring_degree": parameters.ring_degree,
            "prime_bits": list(parameters.prime_bits),
            "special_bits": parameters.special_bits,
            "scale_bits": parameters.scale_bits,
        }

    @cached_property
    def id(self) -> str:
        """SHA-256 of :meth:`shared`, 32 hex digits."""
        return _digest(self.shared())

    @cached_property
    def key_set(self) -> str:
        """Names the keys needed: plans with the same parameters and keys share them."""
        return _digest([self._parameters_json(), self.keys.to_json()])

    @property
    def levels(self) -> int:
        """Levels of a fresh ciphertext at the top of the circuit."""
        return self.parameters.top_level

    @property
    def key_switches(self) -> int:
        """Rotations, conjugations and relinearisations of one run."""
        return sum(n for (verb, _), n in self.operations.items() if verb in KEY_SWITCHES)

    @property
    def facts(self) -> Facts:
        """What reports tell."""
        return Facts(
            self.shape.tokens,
            self.levels,
            self.key_switches,
            self.parameters.ring_degree,
            self.parameters.total_bits,
        )

    def to_json(self) -> dict[str, Any]:
        """The shared part, the schedule and the counts, for people and reports."""
        return {
            **self.shared(),
            "id": self.id,
            "key_set": self.key_set,
            "rounds": self.schedule.rounds,
            "wrap_probability": self.wrap_probability,
            "levels": self.levels,
            "key_switches": self.key_switches,
            "operations": [
                {"verb": verb, "level": level, "count": n}
                for (verb, level), n in sorted(self.operations.items())
            ],
            "visits": [
                {
                    "name": round_trip.name,
                    "parts": [
                        {
                            "client_does": part.op,
                            "down": part.sends.ciphertexts,
                            "down_level": part.level,
                            "up": [[layout.ciphertexts, level] for layout, level in part.returns],
                        }
                        for part in round_trip.parts
                    ],
                }
                for round_trip in self.schedule.round_trips
            ],
        }


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Facts:
    """The public figures of a plan.

    Args:
        bucket: padded length.
        levels: of a fresh ciphertext; 0 where there are none.
        key_switches: of one run.
        ring_degree: N; 0 where ciphertexts are no polynomials.
        modulus_bits: bits of the whole modulus; 0 where there is none.
    """

    bucket: int
    levels: int = 0
    key_switches: int = 0
    ring_degree: int = 0
    modulus_bits: int = 0


class Planned(Protocol):
    """A plan of any engine."""

    @property
    def facts(self) -> Facts:
        """The public figures."""
        ...

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        ...
