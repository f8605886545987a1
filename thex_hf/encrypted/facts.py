"""What a report tells of any plan, whatever kind of engine it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


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
