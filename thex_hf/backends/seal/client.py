"""The SEAL engine's client: the only object that holds a SEAL secret key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from thex_hf.backends.base import SecretKeys
from thex_hf.backends.numerics.integers import IntegerPolynomial
from thex_hf.backends.numerics.modular import Words
from thex_hf.backends.seal.codec import SealCodec
from thex_hf.backends.seal.context import SealContext, SealHandle
from thex_hf.backends.seal.moves import SealMoves
from thex_hf.backends.seal.residues import PlaintextFormat
from thex_hf.backends.seal.serialisation import to_bytes
from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, ComplexVector, Vector
from thex_hf.ckks.packing.moves import Move


class SealClient:
    """See :class:`thex_hf.ckks.engine.ClientEngine`. It has no evaluation verbs.

    Encryption is symmetric: half the size on the wire (one part is a seed), less noise.

    Raises:
        WireError: the secret key is damaged or of other parameters.
    """

    def __init__(self, seal: SealContext, secret: SecretKeys) -> None:
        self._seal = seal
        self._codec = SealCodec(seal)
        self._moves, self._plains = SealMoves(seal), PlaintextFormat(seal)
        key = seal.load("SecretKey", secret.reveal(), limit=seal.key_limit(1))
        self._encryptor = seal.api.Encryptor(seal.context, key)
        self._decryptor = seal.api.Decryptor(seal.context, key)

    @property
    def slots(self) -> int:
        """Slots in a ciphertext."""
        return self._seal.parameters.slots

    def encrypt(self, vector: AnyVector, level: int) -> bytes:
        """Encrypt at ``level``, seed-compressed. Raises PlanError for what does not fit."""
        scale = self._seal.parameters.scale
        plaintext = self._codec.encode(vector, level, scale, "encrypt", alike=True)
        return to_bytes(self._encryptor.encrypt_symmetric(plaintext).save)

    def decrypt(self, data: bytes, level: int | None = None) -> Vector:
        """Real parts of a server's ciphertext. WireError when it is none of that level."""
        return self._codec.decode(self._open(data, level))

    def decrypt_complex(self, data: bytes, level: int | None = None) -> ComplexVector:
        """As :meth:`decrypt`, with the imaginary parts."""
        return self._codec.decode_complex(self._open(data, level))

    def renew(
        self,
        data: Sequence[bytes],
        moves: Sequence[tuple[Move, int]],
        level: int | None = None,
    ) -> list[list[bytes]]:
        """Decrypt to integers, move these, encrypt."""
        rules.check_renewing(moves, len(data), self._seal.parameters)
        sources = [self._integers(one, level) for one in data]
        return [
            [self._encrypted(words, top) for words in self._moves.move(sources, move, top)]
            for move, top in moves
        ]

    def _integers(self, data: bytes, level: int | None) -> IntegerPolynomial:
        handle = self._checked(data, level)
        return self._moves.integers(self._plains.read(self._decrypted(handle), handle.level))

    def _encrypted(self, words: Words, level: int) -> bytes:
        plaintext = self._plains.write(words, level)
        return to_bytes(self._encryptor.encrypt_symmetric(plaintext).save)

    def _open(self, data: bytes, level: int | None) -> Any:
        return self._decrypted(self._checked(data, level))

    def _checked(self, data: bytes, level: int | None) -> SealHandle:
        handle = self._codec.load(data)
        rules.check_received(handle.level, level)
        return handle

    def _decrypted(self, handle: SealHandle) -> Any:
        plaintext = self._seal.api.Plaintext()
        self._decryptor.decrypt(handle.ciphertext, plaintext)
        return plaintext

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client engine holds a secret key and cannot be copied or pickled")
