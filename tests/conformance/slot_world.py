"""Keys and engines of one backend, small but secure, for the conformance suite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thex_hf.backends.base import EvaluationKeys, SecretKeys, SlotBackend
from thex_hf.ckks.engine import (
    AnyVector,
    ClientEngine,
    ComplexVector,
    ServerEngine,
    Vector,
)
from thex_hf.ckks.parameters import Parameters

SMALL = Parameters(4096, (39, 30), 39, 30)
OTHER = Parameters(4096, (38, 31), 39, 31)
STEPS = (1, 2, 5, -1, 512, 2047)
SLOTS = SMALL.slots
TOLERANCE = 2e-3  # generous: 30-bit scale, values near 1, size-3 rescale


@dataclass
class World:
    """Keys and engines of one backend."""

    backend: SlotBackend
    secret: SecretKeys
    evaluation: EvaluationKeys
    client: ClientEngine
    server: ServerEngine

    def sent(self, vector: AnyVector, level: int = 1) -> object:
        return self.server.load(self.client.encrypt(vector, level))

    def read(self, handle: object) -> Vector:
        return self.client.decrypt(self.server.dump(handle))

    def read_complex(self, handle: object) -> ComplexVector:
        return self.client.decrypt_complex(self.server.dump(handle))


def close(a: AnyVector, b: AnyVector, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
