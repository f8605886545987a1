"""Encoding, and reading ciphertexts off the wire: what client and server both do."""

from __future__ import annotations

from typing import Any

import numpy as np

from thex_hf.backends.numerics.embedding import as_seal_slots
from thex_hf.backends.seal.context import SealContext, SealHandle
from thex_hf.backends.seal.serialisation import from_bytes
from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, ComplexVector, Vector
from thex_hf.errors import PlanError, WireError


class SealCodec:
    """Encodes vectors and validates ciphertexts under one context. Holds no key."""

    def __init__(self, seal: SealContext) -> None:
        self._seal = seal
        self._encoder = seal.api.CKKSEncoder(seal.context)

    def encode(
        self, vector: AnyVector, level: int, scale: float, verb: str, *, alike: bool = False
    ) -> Any:
        """A SEAL plaintext of ``vector`` at ``level`` and ``scale``.

        ``alike`` takes the same time for a vector of one number as for any other.

        Raises:
            PlanError: wrong shape or level, not finite, or too large for the modulus.
        """
        parameters = self._seal.parameters
        values = rules.checked_vector(vector, parameters.slots, verb)
        rules.check_level(level, parameters, verb)
        plaintext = self._seal.api.Plaintext()
        content = _listed(values) if alike else _content(values)
        try:
            self._encoder.encode(content, self._seal.ids[level], scale, plaintext)
        except (ValueError, RuntimeError) as error:
            raise PlanError(
                f"{verb} at level {level}: values up to {abs(values).max():.3g} at scale "
                f"{scale:.3g} do not fit {self._seal.modulus_bits(level)} modulus bits ({error})"
            ) from error
        return plaintext

    def decode(self, plaintext: Any) -> Vector:
        """The real parts of the slots."""
        return np.array(self._encoder.decode_double(plaintext))

    def decode_complex(self, plaintext: Any) -> ComplexVector:
        """The slots with their imaginary parts."""
        return as_seal_slots(np.array(self._encoder.decode_complex(plaintext)))

    def load(self, data: bytes) -> SealHandle:
        """Read a ciphertext of size 2 and degree 1, whole or seed-compressed.

        Raises:
            WireError: damaged, too long, or not such a ciphertext of these parameters.
        """
        seal = self._seal
        ciphertext = seal.api.Ciphertext()
        limit = seal.ciphertext_limit()
        from_bytes(
            lambda path: ciphertext.load(seal.context, path), data, what="ciphertext", limit=limit
        )
        level = seal.level_of(ciphertext)
        if ciphertext.size() != 2 or not ciphertext.is_ntt_form():
            raise WireError(f"ciphertext must have 2 parts in NTT form, got {ciphertext.size()}")
        if ciphertext.scale != seal.parameters.scale:
            raise WireError(
                f"ciphertext must have scale {seal.parameters.scale}, got {ciphertext.scale}"
            )
        if ciphertext.is_transparent():
            raise WireError("ciphertext is transparent: it encrypts nothing")
        return SealHandle(ciphertext, level)


def _content(values: AnyVector) -> float | list[float] | list[complex]:
    """``values`` as SEAL's encoder takes them.

    One real number in every slot is a constant polynomial: exact, and ten times faster to
    encode than a list.
    """
    first = complex(values[0])
    if not first.imag and (values == first).all():
        return first.real
    return _listed(values)


def _listed(values: AnyVector) -> list[float] | list[complex]:
    """``values`` as SEAL's encoder takes any of them."""
    if np.iscomplexobj(values):
        turned: list[complex] = as_seal_slots(values.astype(np.complex128)).tolist()
        return turned
    numbers: list[float] = values.tolist()
    return numbers
