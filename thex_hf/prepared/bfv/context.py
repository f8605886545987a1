"""SEAL's context for BFV, and the CKKS context of the same ring and primes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from thex_hf.backends.seal.context import SealContext, sealapi, secure_context
from thex_hf.errors import PlanError, WireError
from thex_hf.prepared.bfv.parameters import REPLY_LIMBS, BfvParameters


@dataclass(frozen=True)
class BfvContext:
    """What both sides share. Holds no key.

    Args:
        parameters: the whole set.
        seal: SEAL's BFV context and its levels, lowest first.
        twin: the CKKS context of the same ring and primes. A secret key is the same
            polynomial under both, and so is a public key; see :mod:`.keys`.
        encoder: SEAL's batch encoder.
    """

    parameters: BfvParameters
    seal: SealContext
    twin: SealContext
    encoder: Any

    @property
    def reply(self) -> Any:
        """Id of the level of answers."""
        return self.seal.ids[REPLY_LIMBS - 1]

    def check(self, ciphertext: Any, limbs: int) -> None:
        """Refuse what SEAL has read unless it is a whole ciphertext of ``limbs`` primes.

        Raises:
            WireError: of another level, size or form, or one that encrypts nothing.
        """
        if self.seal.level_of(ciphertext) != limbs - 1:
            raise WireError(f"ciphertext must have {limbs} primes; check that it is of this plan")
        if ciphertext.size() != 2 or ciphertext.is_ntt_form():
            raise WireError("ciphertext must have 2 parts, in coefficient form")
        if ciphertext.is_transparent():
            raise WireError("ciphertext is transparent: it encrypts nothing")

    def plain_root(self) -> int:
        """SEAL's root of order 2N modulo t: the value of the polynomial ``x`` in slot 0."""
        root: int = self.encoder.decode_uint64(self.seal.api.Plaintext("1x^1"))[0]
        return root

    def roots(self) -> list[int]:
        """SEAL's root of order 2N for each ciphertext prime: word 0 of the polynomial ``x``."""
        x, degree = self.seal.api.Plaintext("1x^1"), self.parameters.ring_degree
        self.seal.evaluator.transform_to_ntt_inplace(x, self.seal.ids[-1])
        roots = [int(x.data(limb * degree)) for limb in range(len(self.seal.primes))]
        for limb, prime in enumerate(self.seal.primes):
            assert x.data(limb * degree + 1) == prime - roots[limb], "NTT order is not SEAL's"
        return roots


@lru_cache(maxsize=8)
def bfv_context(parameters: BfvParameters) -> BfvContext:
    """The context of parameters of at least 128-bit security.

    Raises:
        SecurityError: fewer bits of security, by our table or by SEAL's.
        PlanError: SEAL cannot build the parameters, or there are too few primes for an answer.
        BackendUnavailable: the library is missing.
    """
    parameters.require_128_bit()
    if len(parameters.prime_bits) < REPLY_LIMBS:
        raise PlanError(f"BFV needs {REPLY_LIMBS} primes or more, not {parameters.prime_bits}")
    twin = secure_context(parameters.lattice)
    api, degree = sealapi(), parameters.ring_degree
    try:
        raw = api.EncryptionParameters(api.SCHEME_TYPE.BFV)
        raw.set_poly_modulus_degree(degree)
        raw.set_coeff_modulus(twin.context.key_context_data().parms().coeff_modulus())
        raw.set_plain_modulus(api.PlainModulus.Batching(degree, parameters.plain_bits))
        context = api.SEALContext(raw, True, api.SEC_LEVEL_TYPE.TC128)
        reason = "" if context.parameters_set() else context.parameters_error_message()
        encoder = None if reason else api.BatchEncoder(context)
    except (ValueError, RuntimeError) as error:
        reason = str(error)
    if reason:
        raise PlanError(f"SEAL refuses {parameters}: {reason}")
    ids, data = [], context.first_context_data()
    assert data.parms().plain_modulus().value() == parameters.plain_modulus
    while data is not None:
        ids.append(data.parms_id())
        data = data.next_context_data()
    seal = SealContext(
        api=api,
        parameters=parameters.lattice,
        security=twin.security,
        context=context,
        primes=twin.primes,
        ids=tuple(ids[::-1]),
        evaluator=api.Evaluator(context),
    )
    return BfvContext(parameters, seal, twin, encoder)
