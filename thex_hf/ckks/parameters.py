"""CKKS parameters and the 128-bit security table.

The table is that of the Homomorphic Encryption Standard (Albrecht et al., 2018),
classical attacks, ternary secret, 128 bits: the largest total size in bits of the
coefficient modulus, key-switching prime included, for each ring degree.
"""

from __future__ import annotations

from dataclasses import dataclass

from thex_hf.errors import SecurityError

MAX_MODULUS_BITS_128: dict[int, int] = {
    1024: 27,
    2048: 54,
    4096: 109,
    8192: 218,
    16384: 438,
    32768: 881,
}


@dataclass(frozen=True)
class Parameters:
    """One CKKS parameter set.

    Args:
        ring_degree: N; a ciphertext holds N/2 real slots.
        prime_bits: sizes in bits of the ciphertext primes, lowest level first; a
            ciphertext at level ``l`` uses primes ``0..l``.
        special_bits: size in bits of the key-switching prime.
        scale_bits: the nominal scale is ``2**scale_bits``.
    """

    ring_degree: int
    prime_bits: tuple[int, ...]
    special_bits: int
    scale_bits: int

    @property
    def slots(self) -> int:
        """Real values in one ciphertext: N/2."""
        return self.ring_degree // 2

    @property
    def top_level(self) -> int:
        """Highest level, that is, the number of multiplications one can do."""
        return len(self.prime_bits) - 1

    @property
    def scale(self) -> float:
        """Nominal scale."""
        return float(2**self.scale_bits)

    @property
    def room(self) -> float:
        """What values at level 0 must stay below: the first prime by the scale, halved."""
        return 2.0 ** (self.prime_bits[0] - self.scale_bits - 1)

    @property
    def total_bits(self) -> int:
        """Bits of the whole modulus, key-switching prime included."""
        return sum(self.prime_bits) + self.special_bits

    def modulus_bits(self, level: int) -> int:
        """Bits of the ciphertext modulus at ``level``."""
        return sum(self.prime_bits[: level + 1])

    def require_128_bit(self) -> None:
        """Refuse parameters below 128-bit security.

        Raises:
            SecurityError: unknown ring degree, or a modulus over the table's limit.
        """
        limit = MAX_MODULUS_BITS_128.get(self.ring_degree)
        if limit is None:
            raise SecurityError(
                f"ring degree {self.ring_degree} is not in the 128-bit table; "
                f"use one of {sorted(MAX_MODULUS_BITS_128)}"
            )
        if self.total_bits > limit:
            raise SecurityError(
                f"insecure parameters: {self.total_bits} modulus bits at ring degree "
                f"{self.ring_degree}, but 128-bit security allows {limit}; use fewer "
                f"levels, a smaller scale or a larger ring"
            )
