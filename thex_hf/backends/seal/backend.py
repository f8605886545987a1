"""Backend ``seal``: CKKS by Microsoft SEAL, through ``tenseal.sealapi``. The default.

Importing this module imports no library; the first use of :data:`BACKEND` does.
"""

from __future__ import annotations

from thex_hf.backends.base import EvaluationKeys, KeyRequest, SecretKeys
from thex_hf.backends.numerics.embedding import conjugation_element, galois_element
from thex_hf.backends.seal.client import SealClient
from thex_hf.backends.seal.context import SealContext, insecure_context, sealapi, secure_context
from thex_hf.backends.seal.keys import KeyMaker, load_galois, load_public, load_relinearisation
from thex_hf.backends.seal.serialisation import to_bytes
from thex_hf.backends.seal.server import SealServer
from thex_hf.ckks import rules
from thex_hf.ckks.engine import ClientEngine, ServerEngine
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import BackendUnavailable


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
