"""What every slot backend offers, and the two halves of a key pair.

A backend turns a :class:`KeyRequest` into keys, and keys into the two engines of
:mod:`thex_hf.ckks.engine`. Secret and evaluation keys are different types, so that
nothing which needs only the one can be handed the other by mistake. Last come two verbs made of the
others, for engines that have nothing faster.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import numpy as np

from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, ClientEngine, Handle, Plaintext, ServerEngine
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import KeyMismatch

KEY_ID_LENGTH = 32


@dataclass(frozen=True)
class KeyLevels:
    """The highest level that each key is used at; the lower it is, the shorter the key.

    Args:
        rotations: level of each rotation step; steps left out have the top level.
        relinearisation: level of the relinearisation key; None is the top level.
        conjugation: level of the conjugation key; None is the top level.
    """

    rotations: Mapping[int, int] = field(default_factory=dict)
    relinearisation: int | None = None
    conjugation: int | None = None


@dataclass(frozen=True)
class KeyRequest:
    """What keys a plan needs.

    Args:
        parameters: the CKKS parameters.
        rotations: left rotation steps, in slots, that the server will use.
        relinearisation: whether the server multiplies ciphertexts with each other.
        conjugation: whether the server conjugates slots.
        public: whether the server makes encryptions of zero to rerandomise its replies.
        levels: how far up the keys reach; by default, to the top level.

    Raises:
        PlanError: a level that the parameters do not have.
    """

    parameters: Parameters
    rotations: tuple[int, ...]
    relinearisation: bool
    conjugation: bool = False
    public: bool = False
    levels: KeyLevels = KeyLevels()

    def __post_init__(self) -> None:
        asked = (self.levels.relinearisation, self.levels.conjugation)
        for level in (*self.levels.rotations.values(), *asked):
            if level is not None:
                rules.check_level(level, self.parameters, "key")

    @property
    def rotation_levels(self) -> dict[int, int]:
        """The distinct non-zero steps, each in ``1..slots-1``, and how far up its key reaches."""
        slots, top = self.parameters.slots, self.parameters.top_level
        reaches: dict[int, int] = {}
        for step in self.rotations:
            level = self.levels.rotations.get(step, top)
            reaches[step % slots] = max(level, reaches.get(step % slots, 0))
        return {step: reaches[step] for step in rules.reduced_steps(self.rotations, slots)}

    @property
    def relinearisation_level(self) -> int | None:
        """How far up the relinearisation key reaches; None when none is asked for."""
        return self._level(self.relinearisation, self.levels.relinearisation)

    @property
    def conjugation_level(self) -> int | None:
        """How far up the conjugation key reaches; None when none is asked for."""
        return self._level(self.conjugation, self.levels.conjugation)

    def _level(self, asked: bool, level: int | None) -> int | None:
        if not asked:
            return None
        return self.parameters.top_level if level is None else level


def key_share(parameters: Parameters, reach: int) -> float:
    """Size of a switching key that reaches a level, next to one that reaches the top.

    It has a digit for each prime, and each digit has the bits of all of them and of the
    special one.
    """

    def bits(level: int) -> int:
        return (level + 1) * (parameters.modulus_bits(level) + parameters.special_bits)

    return bits(reach) / bits(parameters.top_level)


class SecretKeys:
    """The client's half: bytes that only the engine which made them can read.

    The bytes leave the object through :meth:`reveal` alone. They are not in ``repr``,
    and the object refuses ``copy``, ``deepcopy`` and ``pickle``.

    Args:
        secret: the engine's serialised secret key.
        key_id: the identity of the evaluation keys made with it.
    """

    __slots__ = ("_secret", "key_id")

    key_id: str

    def __init__(self, secret: bytes, key_id: str) -> None:
        self._secret = bytes(secret)
        self.key_id = key_id

    def reveal(self) -> bytes:
        """The secret bytes. Call it only to start a client engine or to write a key file."""
        return self._secret

    def __repr__(self) -> str:
        return f"SecretKeys(key_id={self.key_id!r}, secret=<hidden>)"

    def _refuse(self) -> NoReturn:
        raise TypeError(
            "secret keys cannot be copied or pickled; hand over the object itself, "
            "or save it with thex_hf.protocol.keys.KeyStore"
        )

    def __getstate__(self) -> NoReturn:
        self._refuse()

    def __reduce__(self) -> NoReturn:
        self._refuse()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self._refuse()

    def __copy__(self) -> NoReturn:
        self._refuse()

    def __deepcopy__(self, memo: object) -> NoReturn:
        self._refuse()


def key_id_of(relinearisation: bytes, rotations: bytes, public: bytes = b"") -> str:
    """The identity of evaluation keys: the first 32 hex digits of a SHA-256."""
    digest = hashlib.sha256(b"thex_hf evaluation keys 2")
    for part in (relinearisation, rotations, public):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:KEY_ID_LENGTH]


@dataclass(frozen=True)
class EvaluationKeys:
    """The server's half: lets it compute, and never lets it read.

    Args:
        key_id: identity, equal to :func:`key_id_of` of the other fields.
        relinearisation: the engine's serialised key, empty when none was asked for.
        rotations: the engine's serialised rotation keys, and the conjugation key among
            them; empty when none were asked for.
        public: the engine's serialised public key, empty when none was asked for.

    Raises:
        KeyMismatch: ``key_id`` is not the identity of the contents.
    """

    key_id: str
    relinearisation: bytes = field(repr=False)
    rotations: bytes = field(repr=False)
    public: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        identity = key_id_of(self.relinearisation, self.rotations, self.public)
        if identity != self.key_id:
            raise KeyMismatch(
                f"evaluation keys say they are {self.key_id!r} but their contents are "
                f"{identity!r}: they were damaged or exchanged; have the client send them again"
            )

    @classmethod
    def of(cls, relinearisation: bytes, rotations: bytes, public: bytes = b"") -> EvaluationKeys:
        """Name freshly made keys by their contents."""
        key_id = key_id_of(relinearisation, rotations, public)
        return cls(key_id, relinearisation, rotations, public)

    @property
    def size(self) -> int:
        """Bytes of all keys together."""
        return len(self.relinearisation) + len(self.rotations) + len(self.public)


class SlotBackend(Protocol):
    """A library that computes on encrypted slots. One object, no state, any thread."""

    @property
    def name(self) -> str:
        """The name users write, as in the entry point."""
        ...

    def available(self) -> tuple[bool, str]:
        """Whether the library really imports here, and why not."""
        ...

    def generate(self, request: KeyRequest) -> tuple[SecretKeys, EvaluationKeys]:
        """Make keys.

        Raises:
            BackendUnavailable: the library is missing.
            SecurityError: parameters below 128-bit security.
            PlanError: parameters the library cannot build.
        """
        ...

    def client(self, parameters: Parameters, secret: SecretKeys) -> ClientEngine:
        """The engine that encrypts and decrypts.

        Raises:
            BackendUnavailable, SecurityError, PlanError: as :meth:`generate`.
            WireError: the secret key is damaged or of other parameters.
        """
        ...

    def server(
        self, parameters: Parameters, evaluation: EvaluationKeys, rotations: tuple[int, ...]
    ) -> ServerEngine:
        """The engine that computes; it may rotate by ``rotations`` and no other step.

        It may relinearise, conjugate and rerandomise where the keys for that are held, and
        switch keys at the levels that they reach. With empty keys and no rotations it is
        nobody's server, which encodes weights before any client comes.

        Raises:
            BackendUnavailable, SecurityError, PlanError: as :meth:`generate`; also
                PlanError when the keys do not hold a step in ``rotations``.
            WireError: the evaluation keys are damaged or of other parameters.
        """
        ...


def dot_by_products(
    engine: ServerEngine, handles: Sequence[Handle], plains: Sequence[Plaintext]
) -> Handle:
    """What :meth:`~thex_hf.ckks.engine.ServerEngine.dot_plain` promises.

    Raises:
        PlanError: numbers, levels or degrees do not fit.
    """
    rules.check_dot(handles, plains)
    products = (engine.mul_plain(a, p) for a, p in zip(handles, plains, strict=True))
    return functools.reduce(engine.add, products)


def combine_by_products(
    engine: ServerEngine, handles: Sequence[Handle], weights: AnyVector, bias: AnyVector
) -> list[Handle]:
    """What :meth:`~thex_hf.ckks.engine.ServerEngine.combine` promises. Levels: 1.

    Raises:
        PlanError: shapes or levels do not fit.
    """
    level = rules.check_combine(handles, weights, bias)
    out = []
    for row, number in zip(weights, bias, strict=True):
        used = np.flatnonzero(row).tolist() or [0]
        factors = [engine.encode(np.full(engine.slots, row[i]), level, factor=True) for i in used]
        result = engine.rescale(engine.dot_plain([handles[i] for i in used], factors))
        if number:
            shift = engine.encode(np.full(engine.slots, number), level - 1, factor=False)
            result = engine.add_plain(result, shift)
        out.append(result)
    return out
