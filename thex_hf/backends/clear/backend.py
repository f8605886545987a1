"""Backend ``clear``: the slot machine on numpy, for ``fhe="simulate"``. It hides nothing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np

from thex_hf.backends.base import EvaluationKeys, KeyRequest, SecretKeys
from thex_hf.backends.clear.handles import (
    CONJUGATION,
    PUBLIC,
    RELINEARISATION,
    Modulus,
    UnprotectedFormat,
    key_tag,
    tag_of_keys,
)
from thex_hf.backends.clear.server import ClearServer
from thex_hf.backends.numerics.noise import NoiseModel
from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, ClientEngine, ComplexVector, Move, ServerEngine, Vector
from thex_hf.ckks.parameters import Parameters


class ClearClient:
    """See :class:`thex_hf.ckks.engine.ClientEngine`. Its messages are not encrypted.

    Args:
        parameters: the CKKS parameters whose machine is imitated.
        tag: the key tag its messages carry.
        noise: the error model, or None for none.
    """

    def __init__(self, parameters: Parameters, *, tag: bytes, noise: NoiseModel | None) -> None:
        self._parameters = parameters
        self._format = UnprotectedFormat(parameters, tag)
        self._modulus = Modulus(parameters)
        self._noise = noise

    @property
    def slots(self) -> int:
        """Slots in a "ciphertext"."""
        return self._parameters.slots

    def encrypt(self, vector: AnyVector, level: int) -> bytes:
        """Write numbers openly, with the errors that encoding and encryption would add."""
        values = rules.checked_vector(vector, self.slots, "encrypt")
        rules.check_level(level, self._parameters, "encrypt")
        self._modulus.check(values, level, 1, "encrypt")
        rounding = 0.0 if self._noise is None else self._noise.float_error(values)
        return self._format.pack_vector(self._encrypted(values, rounding), level)

    def decrypt(self, data: bytes, level: int | None = None) -> Vector:
        """Read the real parts, with the round-off that decoding would add."""
        return np.ascontiguousarray(self._read(data, level).real)

    def decrypt_complex(self, data: bytes, level: int | None = None) -> ComplexVector:
        """Read the numbers; those of a message that was never complex have no imaginary part."""
        return self._read(data, level).astype(np.complex128)

    def renew(
        self,
        data: Sequence[bytes],
        moves: Sequence[tuple[Move, int]],
        level: int | None = None,
    ) -> list[list[bytes]]:
        """Read, move and write numbers, with the errors that rounding and encryption would add."""
        rules.check_renewing(moves, len(data), self._parameters)
        read = [self._format.unpack_vector(one) for one in data]
        for _, received, _ in read:
            rules.check_received(received, level)
        high = [values for values, _, _ in read]
        low = [np.zeros_like(values) if rest is None else rest for values, _, rest in read]
        return [
            [
                self._format.pack_vector(a, top, self._encrypted(b))
                for a, b in zip(move.apply(high), move.apply(low), strict=True)
            ]
            for move, top in moves
        ]

    def _encrypted(self, values: AnyVector, rounding: float = 0.0) -> AnyVector:
        """With the errors of encoding and encryption."""
        if self._noise is None:
            return values
        scale = self._parameters.scale
        parts = (self._noise.fresh(scale), self._noise.encode(scale), rounding)
        return self._noise.disturb(values, float(np.hypot.reduce(parts)))

    def _read(self, data: bytes, level: int | None) -> AnyVector:
        values, received, low = self._format.unpack_vector(data)
        rules.check_received(received, level)
        if low is not None:
            values = values + low
        if self._noise is not None:
            values = self._noise.disturb(values, self._noise.float_error(values))
        return values


class ClearBackend:
    """Makes clear engines; see :class:`thex_hf.backends.base.SlotBackend`.

    Args:
        seed: starts the error generators of every engine made (client and server have
            different ones); None draws it from the operating system.
        noise: whether errors are added at all.
    """

    name = "clear"
    forks = "texts"

    def __init__(self, *, seed: int | None = 0, noise: bool = True) -> None:
        self._seed = seed
        self._with_noise = noise
        self._secure = True

    @classmethod
    def insecure_for_tests(cls, *, seed: int | None = 0, noise: bool = True) -> ClearBackend:
        """The same without the 128-bit check, for small rings in tests only."""
        backend = cls(seed=seed, noise=noise)
        backend._secure = False
        return backend

    def available(self) -> tuple[bool, str]:
        """Always: it needs numpy only."""
        return True, ""

    def generate(self, request: KeyRequest) -> tuple[SecretKeys, EvaluationKeys]:
        """Make a tag and lists that stand for keys."""
        self._check(request.parameters)
        secret = secrets.token_bytes(32)
        written = UnprotectedFormat(request.parameters, key_tag(secret))
        levels, top = request.rotation_levels, request.parameters.top_level
        if request.conjugation_level is not None:
            levels = {CONJUGATION: request.conjugation_level, **levels}
        relinearisation = public = b""
        if request.relinearisation_level is not None:
            relinearisation = written.pack_token(RELINEARISATION, request.relinearisation_level)
        if request.public:
            public = written.pack_token(PUBLIC, top)
        evaluation = EvaluationKeys.of(relinearisation, written.pack_steps(levels), public)
        return SecretKeys(secret, evaluation.key_id), evaluation

    def client(self, parameters: Parameters, secret: SecretKeys) -> ClientEngine:
        """The engine that writes and reads unprotected messages."""
        self._check(parameters)
        noise = self._noise(parameters, role=0)
        return ClearClient(parameters, tag=key_tag(secret.reveal()), noise=noise)

    def server(
        self, parameters: Parameters, evaluation: EvaluationKeys, rotations: tuple[int, ...]
    ) -> ServerEngine:
        """The engine that computes; refuses steps the "keys" do not hold."""
        self._check(parameters)
        steps = rules.reduced_steps(rotations, parameters.slots)
        held: dict[int, int] = {}
        relinearisation = None
        if rotations or evaluation.size:
            tag = tag_of_keys(evaluation.rotations)
            written = UnprotectedFormat(parameters, tag)
            if evaluation.relinearisation:
                relinearisation = written.unpack_token(RELINEARISATION, evaluation.relinearisation)
            if evaluation.public:
                written.unpack_token(PUBLIC, evaluation.public)
            held = written.unpack_steps(evaluation.rotations)
            rules.check_steps_held(steps, held)
        else:  # nobody's: it encodes, and loads nothing
            tag = key_tag(secrets.token_bytes(32))
        return ClearServer(
            parameters,
            {step: held[step] for step in steps},
            relinearisation=relinearisation,
            conjugation=held.get(CONJUGATION),
            public=bool(evaluation.public),
            tag=tag,
            noise=self._noise(parameters, role=1),
        )

    def _check(self, parameters: Parameters) -> None:
        if self._secure:
            parameters.require_128_bit()

    def _noise(self, parameters: Parameters, role: int) -> NoiseModel | None:
        if not self._with_noise:
            return None
        seeds = np.random.SeedSequence(self._seed).spawn(2)
        return NoiseModel(parameters, np.random.default_rng(seeds[role]))


BACKEND = ClearBackend()
