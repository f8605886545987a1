"""Backend ``seal``: CKKS by Microsoft SEAL, through ``tenseal.sealapi``. The default.

Importing this module imports no library; the first use of :data:`BACKEND` does.
"""

from __future__ import annotations

from thex_hf.backends.base import EvaluationKeys, KeyRequest, SecretKeys
from thex_hf.backends.ring import galois_element
from thex_hf.backends.seal_client import SealClient
from thex_hf.backends.seal_context import SealContext, insecure_context, sealapi, secure_context
from thex_hf.backends.seal_io import to_bytes
from thex_hf.backends.seal_server import SealServer
from thex_hf.errors import BackendUnavailable
from thex_hf.layout import rules
from thex_hf.layout.engines import ClientEngine, ServerEngine
from thex_hf.layout.parameters import Parameters

SPARE_KEYS = 4  # a server reads that many times the rotation keys it needs, and no more


class SealBackend:
    """Makes SEAL keys and engines; see :class:`thex_hf.backends.base.SlotBackend`."""

    name = "seal"

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
        generator = seal.api.KeyGenerator(seal.context)
        relinearisation, rotations = b"", b""
        if request.relinearisation:
            relinearisation = to_bytes(generator.create_relin_keys().save)
        steps = rules.reduced_steps(request.rotations, request.parameters.slots)
        if steps:
            degree = request.parameters.ring_degree
            elements = [galois_element(step, degree) for step in steps]
            rotations = to_bytes(generator.create_galois_keys(elements).save)
        evaluation = EvaluationKeys.of(relinearisation, rotations)
        secret = to_bytes(generator.secret_key().save)
        return SecretKeys(secret, evaluation.key_id), evaluation

    def client(self, parameters: Parameters, secret: SecretKeys) -> ClientEngine:
        """The engine that encrypts and decrypts."""
        return SealClient(self._context(parameters), secret)

    def server(
        self, parameters: Parameters, evaluation: EvaluationKeys, rotations: tuple[int, ...]
    ) -> ServerEngine:
        """The engine that computes; keys are validated by SEAL as they are read."""
        seal = self._context(parameters)
        steps = rules.reduced_steps(rotations, parameters.slots)
        relinearisation = galois = None
        if evaluation.relinearisation:
            limit = seal.key_limit(1)
            relinearisation = seal.load("RelinKeys", evaluation.relinearisation, limit=limit)
        if evaluation.rotations:
            limit = seal.key_limit(SPARE_KEYS * (1 + len(steps)))
            galois = seal.load("GaloisKeys", evaluation.rotations, limit=limit)
        degree = parameters.ring_degree
        held = [
            s for s in steps if galois is not None and galois.has_key(galois_element(s, degree))
        ]
        rules.check_steps_held(steps, held)
        return SealServer(seal, steps, galois=galois, relinearisation=relinearisation)

    def _context(self, parameters: Parameters) -> SealContext:
        return secure_context(parameters) if self._secure else insecure_context(parameters)


BACKEND = SealBackend()
