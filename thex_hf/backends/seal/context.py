"""SEAL's context for one parameter set: the one place where the library is imported.

The library is ``tenseal.sealapi``, TenSEAL's plain binding of Microsoft SEAL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

from thex_hf._extras import require
from thex_hf.backends.seal.serialisation import from_bytes
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError, WireError

FRAME_SLACK = 4096  # header, names and compression overhead of a SEAL frame, generously


def sealapi() -> ModuleType:
    """The library. Raises BackendUnavailable when it cannot be imported."""
    return require("tenseal.sealapi", install="tenseal", purpose="the encryption engine 'seal'")


@dataclass(frozen=True, slots=True)
class SealHandle:
    """A SEAL ciphertext and what the rules need to know of it.

    ``level`` is that of the ciphertext's ``parms_id``, kept to save a look-up.
    """

    ciphertext: Any
    level: int
    degree: int = 1
    size: int = 2


@dataclass(frozen=True, slots=True)
class SealPlaintext:
    """An encoded plaintext; valid for every engine of the same parameters."""

    plaintext: Any
    level: int
    factor: bool

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return 8 * int(self.plaintext.coeff_count())


@dataclass(frozen=True)
class SealContext:
    """The library, its context and its levels, lowest first. Holds no key.

    ``parameters`` are the whole set, also where this is a :meth:`lower` context.
    """

    api: ModuleType
    parameters: Parameters
    security: str
    context: Any
    primes: tuple[int, ...]
    ids: tuple[Any, ...]
    evaluator: Any

    def lower(self, level: int) -> SealContext:
        """The context of levels ``0..level`` alone: the same primes without the higher ones.

        Its ids are the same ones too. Keys made under it are shorter.
        """
        return _context(self.parameters, self.security, level)

    def modulus_bits(self, level: int) -> int:
        """Exact bits of the modulus at ``level``."""
        return math.prod(self.primes[: level + 1]).bit_length()

    def level_of(self, ciphertext: Any) -> int:
        """Level of a loaded ciphertext. Raises WireError for ids that are no data level."""
        try:
            return self.ids.index(ciphertext.parms_id())
        except ValueError:
            raise WireError("ciphertext is at a level that these parameters do not have") from None

    def ciphertext_limit(self) -> int:
        """The most bytes a ciphertext of two parts can take on the wire."""
        limbs = len(self.ids)
        return 2 * limbs * self.parameters.ring_degree * 8 + FRAME_SLACK

    def key_limit(self, keys: int) -> int:
        """The most bytes that ``keys`` key-switching keys in one object can take."""
        digits, degree = len(self.ids), self.parameters.ring_degree
        one = digits * (2 * (digits + 1) * degree * 8 + FRAME_SLACK)
        return keys * one + 8 * degree  # and an index of one number for each element

    def public_limit(self) -> int:
        """The most bytes that a public key can take."""
        return 2 * (len(self.ids) + 1) * self.parameters.ring_degree * 8 + FRAME_SLACK

    def load(self, kind: str, data: bytes, *, limit: int) -> Any:
        """Read a ``"SecretKey"``, ``"PublicKey"``, ``"RelinKeys"`` or ``"GaloisKeys"``.

        SEAL validates it as it reads.

        Raises:
            WireError: damaged, of other parameters, or over ``limit`` bytes.
        """
        loaded = getattr(self.api, kind)()
        from_bytes(lambda path: loaded.load(self.context, path), data, what=kind, limit=limit)
        return loaded


def secure_context(parameters: Parameters) -> SealContext:
    """The context of parameters of at least 128-bit security.

    Raises:
        SecurityError: fewer bits of security, by our table or by SEAL's.
        PlanError: SEAL cannot build the parameters.
        BackendUnavailable: the library is missing.
    """
    parameters.require_128_bit()
    return _context(parameters, "TC128", parameters.top_level)


def insecure_context(parameters: Parameters) -> SealContext:
    """The same without any security check: for small rings in tests only."""
    return _context(parameters, "NONE", parameters.top_level)


@lru_cache(maxsize=32)
def _context(parameters: Parameters, security: str, level: int) -> SealContext:
    api = sealapi()
    bits = [*parameters.prime_bits, parameters.special_bits]
    try:
        raw = api.EncryptionParameters(api.SCHEME_TYPE.CKKS)
        raw.set_poly_modulus_degree(parameters.ring_degree)
        *data, special = api.CoeffModulus.Create(parameters.ring_degree, bits)
        raw.set_coeff_modulus([*data[: level + 1], special])
        context = api.SEALContext(raw, True, getattr(api.SEC_LEVEL_TYPE, security))
        reason = "" if context.parameters_set() else context.parameters_error_message()
    except (ValueError, RuntimeError) as error:
        reason = str(error)
    if reason:
        raise PlanError(
            f"SEAL refuses ring degree {parameters.ring_degree} with primes of {bits} bits: "
            f"{reason}; primes have 20 to 60 bits, and one ring holds few of each small size"
        )
    primes = [m.value() for m in context.first_context_data().parms().coeff_modulus()]
    ids, evaluator = tuple(_ids(context)), api.Evaluator(context)
    return SealContext(api, parameters, security, context, tuple(primes), ids, evaluator)


def _ids(context: Any) -> list[Any]:
    """The ``parms_id`` of each data level, lowest level first."""
    ids = []
    data = context.first_context_data()
    while data is not None:
        ids.append(data.parms_id())
        data = data.next_context_data()
    return ids[::-1]
