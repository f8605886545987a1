"""The primes that SEAL picks, without SEAL.

The clear engine needs them: a ciphertext product is off by scale/prime after the scale
is reset to nominal, and the modulus decides when a value is too large.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sympy import isprime

from thex_hf.errors import PlanError
from thex_hf.layout.parameters import Parameters


def _descending(ring_degree: int, bits: int) -> Iterator[int]:
    """Primes of exactly ``bits`` bits that are 1 modulo 2N, largest first."""
    step = 2 * ring_degree
    candidate = ((1 << bits) - 1) // step * step + 1
    while candidate >= 1 << (bits - 1):
        if candidate.bit_length() == bits and isprime(candidate):
            yield candidate
        candidate -= step


def primes_of(parameters: Parameters) -> tuple[int, ...]:
    """The ciphertext primes, lowest level first, then the key-switching prime.

    Same choice as SEAL's ``CoeffModulus::Create``: for each size the largest primes, the
    smallest of them used first.

    Raises:
        PlanError: there are not enough primes of one size.
    """
    sizes = (*parameters.prime_bits, parameters.special_bits)
    stacks: dict[int, list[int]] = {}
    for bits, wanted in Counter(sizes).items():
        source = _descending(parameters.ring_degree, bits)
        stacks[bits] = [prime for prime, _ in zip(source, range(wanted), strict=False)]
        if len(stacks[bits]) < wanted:
            raise PlanError(
                f"there are not {wanted} primes of {bits} bits for ring degree "
                f"{parameters.ring_degree}; use larger primes"
            )
    return tuple(stacks[bits].pop() for bits in sizes)
