"""BFV parameters."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property

import msgspec

from thex_hf.backends.numerics.ntt import primes_of
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import WireError

REPLY_LIMBS = 2  # primes that are left when an answer is sent


@dataclass(frozen=True)
class BfvParameters:
    """One BFV parameter set.

    Args:
        ring_degree: N, the number of slots of a ciphertext.
        plain_bits: size in bits of the plain modulus t, the largest prime of that size that
            is 1 modulo 2N.
        prime_bits: sizes in bits of the ciphertext primes; answers keep the first two.
        special_bits: size in bits of the prime that only keys have.
    """

    ring_degree: int = 8192
    plain_bits: int = 59
    prime_bits: tuple[int, ...] = (60, 60, 60)
    special_bits: int = 36

    @property
    def lattice(self) -> Parameters:
        """The ring and the primes: what security depends on."""
        return Parameters(
            self.ring_degree, self.prime_bits, self.special_bits, scale_bits=self.plain_bits
        )

    @cached_property
    def plain_modulus(self) -> int:
        """The prime t. Raises PlanError when no prime has that size."""
        alone = Parameters(self.ring_degree, (self.plain_bits,), self.plain_bits + 1, 1)
        return primes_of(alone)[0]

    @cached_property
    def primes(self) -> tuple[int, ...]:
        """The ciphertext primes."""
        return primes_of(self.lattice)[:-1]

    def require_128_bit(self) -> None:
        """Refuse parameters below 128-bit security. Raises SecurityError."""
        self.lattice.require_128_bit()

    def to_json(self) -> str:
        """The fields, in alphabetical order: equal parameters give equal texts."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> BfvParameters:
        """What :meth:`to_json` wrote. Raises WireError for anything else."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, ValueError) as error:
            raise WireError(f"these are no BFV parameters: {error}") from None
