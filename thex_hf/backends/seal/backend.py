"""Backend ``seal``: CKKS by Microsoft SEAL, through ``tenseal.sealapi``. The default.

:class:`SealClient` is the only object that holds a SEAL secret key. Importing this module
imports no library; the first use of :data:`BACKEND` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from thex_hf.backends.base import EvaluationKeys, KeyRequest, SecretKeys
from thex_hf.backends.numerics.embedding import conjugation_element, galois_element
from thex_hf.backends.numerics.integers import IntegerPolynomial
from thex_hf.backends.numerics.modular import Words
from thex_hf.backends.seal.codec import SealCodec, SealMoves
from thex_hf.backends.seal.context import (
    SealContext,
    SealHandle,
    insecure_context,
    sealapi,
    secure_context,
)
from thex_hf.backends.seal.keys import KeyMaker, load_galois, load_public, load_relinearisation
from thex_hf.backends.seal.residues import PlaintextFormat
from thex_hf.backends.seal.serialisation import to_bytes
from thex_hf.backends.seal.server import SealServer
from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, ClientEngine, ComplexVector, Move, ServerEngine, Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import BackendUnavailable


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


class SealBackend:
    """Makes SEAL keys and engines; see :class:`thex_hf.backends.base.SlotBackend`."""

    name = "seal"
    forks = "pieces"  # a rotation takes longer than passing a ciphertext on

    def __init__(self) -> None:
        self._secure = True

    @classmethod
    def insecure_for_tests(cls) -> SealBackend:
        """The same without the 128-bit check, for small rings in tests only."""
        backend = cls()
        backend._secure = False
        return backend

    def available(self) -> tuple[bool, str]:
        """Whether ``tenseal.sealapi`` really imports here, and why not."""
        try:
            sealapi()
        except BackendUnavailable as error:
            return False, str(error)
        return True, ""

    def generate(self, request: KeyRequest) -> tuple[SecretKeys, EvaluationKeys]:
        """Make a secret key and the evaluation keys asked for, seed-compressed."""
        seal = self._context(request.parameters)
        made = seal.api.KeyGenerator(seal.context).secret_key()
        maker = KeyMaker(seal, made)
        relinearisation = public = b""
        if request.relinearisation_level is not None:
            relinearisation = maker.relinearisation(request.relinearisation_level)
        if request.public:
            public = maker.public()
        rotations = maker.galois(_element_levels(request))
        evaluation = EvaluationKeys.of(relinearisation, rotations, public)
        return SecretKeys(to_bytes(made.save), evaluation.key_id), evaluation

    def client(self, parameters: Parameters, secret: SecretKeys) -> ClientEngine:
        """The engine that encrypts and decrypts."""
        return SealClient(self._context(parameters), secret)

    def server(
        self, parameters: Parameters, evaluation: EvaluationKeys, rotations: tuple[int, ...]
    ) -> ServerEngine:
        """The engine that computes; keys are validated by SEAL as they are read."""
        seal = self._context(parameters)
        steps = rules.reduced_steps(rotations, parameters.slots)
        relinearisation = public = None
        if evaluation.relinearisation:
            relinearisation = load_relinearisation(seal, evaluation.relinearisation)
        if evaluation.public:
            public = load_public(seal, evaluation.public)
        degree = parameters.ring_degree
        elements = {step: galois_element(step, degree) for step in steps}
        mirror = conjugation_element(degree)
        held = load_galois(seal, evaluation.rotations, [*elements.values(), mirror])
        rules.check_steps_held(steps, [step for step in steps if elements[step] in held])
        return SealServer(
            seal,
            {step: held[element] for step, element in elements.items()},
            conjugation=held.get(mirror),
            relinearisation=relinearisation,
            public=public,
        )

    def _context(self, parameters: Parameters) -> SealContext:
        return secure_context(parameters) if self._secure else insecure_context(parameters)


def _element_levels(request: KeyRequest) -> dict[int, int]:
    """The Galois elements that ``request`` needs keys for, and the levels they reach."""
    degree = request.parameters.ring_degree
    levels = {galois_element(step, degree): at for step, at in request.rotation_levels.items()}
    if request.conjugation_level is not None:
        levels[conjugation_element(degree)] = request.conjugation_level
    return levels


BACKEND = SealBackend()
