"""The plan: everything client and server must agree on, and what a run will cost.

A plan is derived from model, length and protocol; it is never stored with the weights.
Its id is a hash of all that the two sides must share: a message that carries another id
is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from thex_hf.encrypted.context import RangeBits
from thex_hf.encrypted.masks import HIDING_BITS
from thex_hf.encrypted.schedule import Schedule, make_schedule
from thex_hf.encrypted.shape import Shape
from thex_hf.layout.parameters import Parameters

FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """One circuit for one bucket.

    Args:
        shape: sizes and geometry.
        parameters: CKKS parameters.
        rotations: the exact set of rotation steps, each of which needs a key.
        bits: ranges of masked values.
        softmax: one of :data:`thex_hf.encrypted.schedule.SOFTMAX`.
        model: fingerprint of the encoder's weights.
        operations: counts by verb and level.
        plaintext_limbs: 64-bit words per ring coefficient that encoded weights take.
    """

    shape: Shape
    parameters: Parameters
    rotations: tuple[int, ...]
    bits: RangeBits
    softmax: str
    model: str
    operations: Counter[tuple[str, int]] = field(compare=False)
    plaintext_limbs: int = field(compare=False)
    protocol: str = "client-aided"

    @cached_property
    def schedule(self) -> Schedule:
        """Visits and packings."""
        return make_schedule(self.shape, self.softmax)

    def shared(self) -> dict[str, Any]:
        """What both sides must agree on, as plain JSON values."""
        shape, parameters = self.shape, self.parameters
        return {
            "format": FORMAT,
            "protocol": self.protocol,
            "model": self.model,
            "softmax": self.softmax,
            "tokens": shape.tokens,
            "tile": shape.geometry.tile,
            "layers": shape.layers,
            "hidden": shape.hidden,
            "heads": shape.heads,
            "intermediate": shape.intermediate,
            "labels": shape.labels,
            "ring_degree": parameters.ring_degree,
            "prime_bits": list(parameters.prime_bits),
            "special_bits": parameters.special_bits,
            "scale_bits": parameters.scale_bits,
            "rotations": list(self.rotations),
            "hiding_bits": HIDING_BITS,
        }

    @cached_property
    def id(self) -> str:
        """SHA-256 of :meth:`shared`, 32 hex digits."""
        text = json.dumps(self.shared(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @cached_property
    def key_set(self) -> str:
        """Names the keys needed: plans with the same parameters and rotations share them."""
        text = json.dumps(
            [
                self.parameters.ring_degree,
                self.parameters.prime_bits,
                self.parameters.special_bits,
                self.parameters.scale_bits,
                self.rotations,
            ]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def levels(self) -> int:
        """Levels of a fresh ciphertext at the top of the circuit."""
        return self.parameters.top_level

    @property
    def key_switches(self) -> int:
        """Rotations and relinearisations of one run."""
        verbs = ("rotate", "relinearise")
        return sum(n for (verb, _), n in self.operations.items() if verb in verbs)

    def to_json(self) -> dict[str, Any]:
        """The shared part, the schedule and the counts, for people and reports."""
        return {
            **self.shared(),
            "id": self.id,
            "key_set": self.key_set,
            "rounds": self.schedule.rounds,
            "levels": self.levels,
            "key_switches": self.key_switches,
            "operations": [
                {"verb": verb, "level": level, "count": n}
                for (verb, level), n in sorted(self.operations.items())
            ],
            "visits": [
                {
                    "name": visit.name,
                    "parts": [
                        {
                            "client_does": part.op,
                            "down": part.sends.ciphertexts,
                            "down_level": part.level,
                            "up": [[layout.ciphertexts, level] for layout, level in part.returns],
                        }
                        for part in visit.parts
                    ],
                }
                for visit in self.schedule.visits
            ],
        }
