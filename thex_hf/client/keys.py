"""A client's keys for one plan, whatever engine makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thex_hf.backends.base import EvaluationKeys, SecretKeys, SlotBackend
from thex_hf.prepared.bfv.client import BfvClient
from thex_hf.prepared.plan import AnyPlan, PreparedPlan, check_engine
from thex_hf.protocol import keyfile
from thex_hf.protocol.keyfile import KeyFile
from thex_hf.protocol.keys import key_request


@dataclass
class Keys:
    """A key pair: the engine that holds the secret half, and what the server gets.

    Args:
        engine: of the client.
        key_set: what plans they serve.
        backend: that made them.
        key_id: of both halves.
        size: bytes that cross for the server's half.
        evaluation: that half; None once a server in this process has it.
        name: what the server calls it, once it has it.
    """

    engine: Any
    key_set: str
    backend: str
    key_id: str
    size: int
    evaluation: EvaluationKeys | None = field(repr=False)
    name: str = ""

    @property
    def file(self) -> bytes:
        """The evaluation keys as a server takes them."""
        keys = self.evaluation
        assert keys is not None
        parts = {
            "relinearisation": keys.relinearisation,
            "rotations": keys.rotations,
            "public": keys.public,
        }
        file = KeyFile("evaluation", self.key_set, self.backend, keys.key_id, parts)
        return keyfile.to_bytes(file)


def generated(plan: AnyPlan, backend: SlotBackend) -> tuple[SecretKeys, EvaluationKeys]:
    """New keys for a plan.

    Raises:
        OptionError: the backend does not run the plan's protocol.
        ThexError: as the backend raises.
    """
    if isinstance(plan, PreparedPlan):
        check_engine(backend.name)
        client, public = BfvClient.generate(plan.parameters)
        return client.secret, EvaluationKeys.of(b"", b"", public)
    return backend.generate(key_request(plan))


def client_engine(plan: AnyPlan, backend: SlotBackend, secret: SecretKeys) -> Any:
    """The engine of a client for a plan. Raises as the backend."""
    if isinstance(plan, PreparedPlan):
        return BfvClient(plan.parameters, secret)
    return backend.client(plan.parameters, secret)
