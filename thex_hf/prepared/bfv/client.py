"""The BFV client: the only object that holds the secret key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Self

import numpy as np

from thex_hf.backends.base import SecretKeys, key_id_of
from thex_hf.backends.numerics.modular import Words
from thex_hf.backends.seal.residues import CiphertextFormat
from thex_hf.backends.seal.serialisation import to_bytes
from thex_hf.prepared.bfv.answers import AnswerFormat
from thex_hf.prepared.bfv.context import bfv_context
from thex_hf.prepared.bfv.inputs import InputFormat
from thex_hf.prepared.bfv.keys import require_residues, seeded_public
from thex_hf.prepared.bfv.parameters import REPLY_LIMBS, BfvParameters
from thex_hf.prepared.bfv.slots import check_slots


class BfvClient:
    """Encrypts slots and decrypts answers.

    Args:
        parameters: the BFV parameters.
        secret: the secret key, of :meth:`generate` or of a key file.

    Raises:
        SecurityError: parameters below 128-bit security.
        PlanError: parameters that SEAL cannot build.
        BackendUnavailable: the library is missing, or does not show residues.
        WireError: the secret key is damaged or of other parameters.
    """

    def __init__(self, parameters: BfvParameters, secret: SecretKeys) -> None:
        self._context = context = bfv_context(parameters)
        self.secret = secret
        seal = context.seal
        key = seal.load("SecretKey", secret.reveal(), limit=seal.key_limit(1))
        self._encryptor = seal.api.Encryptor(seal.context, key)
        self._decryptor = seal.api.Decryptor(seal.context, key)
        sample = seal.api.Ciphertext()
        self._encryptor.encrypt_symmetric(seal.api.Plaintext("1"), sample)
        self._inputs = InputFormat(context, sample)
        seal.evaluator.mod_switch_to_inplace(sample, context.reply)
        self._form = CiphertextFormat(seal, REPLY_LIMBS, sample)
        self._answers = AnswerFormat(parameters)

    @classmethod
    def generate(cls, parameters: BfvParameters) -> tuple[Self, bytes]:
        """A client with a new secret key, and the public key for the server.

        Raises:
            SecurityError, PlanError, BackendUnavailable: as the class.
        """
        context = bfv_context(parameters)
        require_residues()
        made = context.seal.api.KeyGenerator(context.seal.context).secret_key()
        public = seeded_public(context, made)
        secret = SecretKeys(to_bytes(made.save), key_id_of(b"", b"", public))
        return cls(parameters, secret), public

    def encrypt(self, slots: Words) -> list[bytes]:
        """Encrypt ``(n, N)`` numbers below t: n ciphertexts of half their size.

        Raises:
            PlanError: another shape, or numbers that are not below t.
        """
        parameters, seal = self._context.parameters, self._context.seal
        check_slots(slots, parameters, "encrypt")
        out = []
        for row in slots:
            plaintext = seal.api.Plaintext()
            self._context.encoder.encode(row.tolist(), plaintext)
            saved = to_bytes(self._encryptor.encrypt_symmetric(plaintext).save)
            out.append(self._inputs.write(saved))
        return out

    def decrypt(self, data: Sequence[bytes]) -> Words:
        """The slots ``(n, N)`` of a server's answers.

        Raises:
            WireError: one is no answer under these parameters.
        """
        context, degree = self._context, self._context.parameters.ring_degree
        out = np.empty((len(data), degree), np.uint64)
        for row, one in zip(out, data, strict=True):
            plaintext = context.seal.api.Plaintext()
            self._decryptor.decrypt(self._form.write(self._answers.read(one)), plaintext)
            row[:] = np.fromiter(context.encoder.decode_uint64(plaintext), np.uint64, degree)
        return out

    def __repr__(self) -> str:
        return f"BfvClient({self._context.parameters}, secret=<hidden>)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a client engine holds a secret key and cannot be copied or pickled")
