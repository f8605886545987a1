"""The BFV server: it has a public key, and nothing here can decrypt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thex_hf.backends.numerics.modular import Words, products_are_exact
from thex_hf.backends.seal.residues import CiphertextFormat
from thex_hf.backends.seal.serialisation import from_bytes
from thex_hf.errors import BackendUnavailable, PlanError
from thex_hf.prepared.bfv.answers import AnswerFormat, flooded
from thex_hf.prepared.bfv.context import bfv_context
from thex_hf.prepared.bfv.inputs import InputFormat
from thex_hf.prepared.bfv.keys import read_public, require_residues
from thex_hf.prepared.bfv.lazily import Factors, Weights, lowered
from thex_hf.prepared.bfv.noise import check_bits
from thex_hf.prepared.bfv.parameters import REPLY_LIMBS, BfvParameters
from thex_hf.prepared.bfv.plaintexts import InstancePlaintexts
from thex_hf.prepared.bfv.products import cross, linear
from thex_hf.prepared.bfv.slots import check_slots


class BfvServer:
    """Computes on ciphertexts as residues in NTT form, ``(2, L, N)`` words each.

    Args:
        parameters: the BFV parameters.
        public_key: of :meth:`.client.BfvClient.generate`.

    Raises:
        SecurityError: parameters below 128-bit security.
        PlanError: parameters that SEAL cannot build.
        BackendUnavailable: the library is missing or shows no residues, or numpy's matrix
            products are not exact here.
        WireError: the public key is damaged, of other primes, or has no seed.
    """

    def __init__(self, parameters: BfvParameters, public_key: bytes) -> None:
        self._context = context = bfv_context(parameters)
        require_residues()
        if not products_are_exact():
            raise BackendUnavailable("numpy's matrix products are not exact on this machine")
        self._seal = seal = context.seal
        self._zeros = seal.api.Encryptor(seal.context, read_public(context, public_key))
        zero = self._zero()
        self._answer_form = CiphertextFormat(seal, REPLY_LIMBS, zero)
        self._answers = AnswerFormat(parameters)
        whole = seal.api.Ciphertext()
        self._zeros.encrypt_zero(whole)
        self._inputs = InputFormat(context, whole)
        seal.evaluator.transform_to_ntt_inplace(whole)
        self._form = CiphertextFormat(seal, len(seal.primes), whole)
        self._plaintexts: dict[int, InstancePlaintexts] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one ciphertext: 2, primes, N."""
        return 2, len(self._seal.primes), self._context.parameters.ring_degree

    def load(self, data: Sequence[bytes]) -> Words:
        """Words ``(n, 2, L, N)`` of a client's ciphertexts.

        Raises:
            WireError: one is damaged or no fresh ciphertext of these parameters.
        """
        seal, out = self._seal, np.empty((len(data), *self.shape), np.uint64)
        for row, one in zip(out, data, strict=True):
            ciphertext = seal.api.Ciphertext()

            def load(path: str, ciphertext: Any = ciphertext) -> None:
                ciphertext.load(seal.context, path)

            saved = self._inputs.read(one)
            from_bytes(load, saved, what="ciphertext", limit=seal.ciphertext_limit())
            self._context.check(ciphertext, len(seal.primes))
            seal.evaluator.transform_to_ntt_inplace(ciphertext)
            row[:] = self._form.read(ciphertext)
        return out

    def linear(self, weights: Weights, inputs: Words) -> Words:
        """``weights @ inputs``: ``(m, n)`` whole numbers times ``(n, 2, L, N)`` words.

        Raises:
            PlanError: shapes that do not belong together, or a weight of 2**15 or more.
        """
        self._check(inputs, "linear")
        return linear(weights, inputs, self._seal.primes)

    def cross(self, plain: Words, inputs: Words) -> Words:
        """For each of B instances, the matrix product of its plain and its encrypted numbers.

        ``out[o, b, alpha] = sum_k plain[o, k, b] * inputs[k, b, alpha]`` modulo t, where
        ``inputs[k]`` holds ``a = N / B`` numbers for each instance, as :func:`.slots.to_slots`.

        Shape:
            plain: ``(O, K, B)`` below t, uniform for the bound in :mod:`.noise` to hold;
            inputs: ``(K, 2, L, N)``; result ``(O, 2, L, N)``.

        Raises:
            PlanError: shapes that do not belong together, B below 4, or numbers not below t.
        """
        self._check(inputs, "cross")
        degree, modulus = self.shape[2], self._context.parameters.plain_modulus
        if plain.ndim != 3 or plain.shape[1] != len(inputs) or degree % max(1, plain.shape[2]):
            raise PlanError(f"cross: plain numbers {plain.shape} do not fit {inputs.shape}")
        if plain.size and int(plain.max()) >= modulus:
            raise PlanError(f"cross takes numbers below {modulus}, got {int(plain.max())}")
        factors = self._encoder(degree // plain.shape[2]).encode(plain)
        return cross(factors, inputs, self._seal.primes)

    def times(self, plain: Words, inputs: Words) -> Words:
        """Slot by slot, ``plain[i] * inputs[i]`` modulo t.

        Shape:
            plain: ``(m, N)`` below t; inputs and result: ``(m, 2, L, N)``.

        Raises:
            PlanError: shapes that do not belong together, or numbers not below t.
        """
        self._check(inputs, "times")
        check_slots(plain, self._context.parameters, "times")
        if len(plain) != len(inputs):
            raise PlanError(f"times: {len(plain)} rows of numbers for {len(inputs)} ciphertexts")
        encoded, out = self._encoder(1).encode(plain), np.empty_like(inputs)
        for limb, prime in enumerate(self._seal.primes):
            factors = Factors(lowered(encoded[limb].T.copy(), prime)[:, None], prime)
            made = factors.times(inputs[:, :, limb].view(np.int64))
            out[:, :, limb] = lowered(made, prime)
        return out

    def add(self, first: Words, second: Words) -> Words:
        """``first + second``, both ``(m, 2, L, N)``; their noise adds up too.

        Raises:
            PlanError: shapes that do not belong together.
        """
        self._check(first, "add")
        self._check(second, "add")
        if len(first) != len(second):
            raise PlanError(f"add: {len(first)} and {len(second)} ciphertexts")
        primes = np.array(self._seal.primes, np.uint64)[:, None]
        total = np.empty_like(first)
        for one, a, b in zip(total, first, second, strict=True):  # small enough for the cache
            np.add(a, b, out=one)
            one -= primes * (one >= primes)
        return total

    def finish(self, outputs: Words, masks: Words, noise_bits: int) -> list[bytes]:
        """Hide how outputs came about, and serialise them for the client.

        The modulus of each is switched to two primes; then its mask, a fresh encryption of
        zero under the public key and flooding are added. See :mod:`.noise` for why in this order.

        Args:
            outputs: ``(m, 2, L, N)`` words.
            masks: ``(m, N)`` slots, added modulo t.
            noise_bits: what :mod:`.noise` says of the outputs.

        Raises:
            PlanError: so much noise does not fit these parameters, or shapes do not.
        """
        parameters, seal = self._context.parameters, self._seal
        check_bits(parameters, noise_bits)
        self._check(outputs, "finish")
        check_slots(masks, parameters, "finish")
        if len(masks) != len(outputs):
            raise PlanError(f"finish: {len(masks)} masks for {len(outputs)} ciphertexts")
        evaluator, out = seal.evaluator, []
        for words, mask in zip(outputs, masks, strict=True):
            ciphertext = self._zero()
            if words.any():  # SEAL refuses to transform a sum with weights that are all zero
                total = self._form.write(words)
                evaluator.transform_from_ntt_inplace(total)
                evaluator.mod_switch_to_inplace(total, self._context.reply)
                evaluator.add_inplace(ciphertext, total)
            plaintext = seal.api.Plaintext()
            self._context.encoder.encode(mask.tolist(), plaintext)
            evaluator.add_plain_inplace(ciphertext, plaintext)
            hidden = self._answer_form.read(ciphertext)
            first = flooded(hidden[0], parameters)
            out.append(self._answers.write(np.stack([first, hidden[1]])))
        return out

    def _check(self, words: Words, verb: str) -> None:
        if words.shape[1:] != self.shape or words.dtype != np.uint64:
            raise PlanError(
                f"{verb} takes ciphertexts as uint64 of {self.shape}, got {words.dtype} of "
                f"{words.shape[1:]}"
            )

    def _encoder(self, width: int) -> InstancePlaintexts:
        if width not in self._plaintexts:
            self._plaintexts[width] = InstancePlaintexts(self._context, width)
        return self._plaintexts[width]

    def _zero(self) -> Any:
        """A fresh encryption of zero under the client's key, at the primes of an answer."""
        zero = self._seal.api.Ciphertext()
        self._zeros.encrypt_zero(self._context.reply, zero)
        return zero
