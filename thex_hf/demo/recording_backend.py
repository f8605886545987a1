"""A slot backend whose servers report each key switch: how far a run has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from thex_hf.backends.base import EvaluationKeys, KeyRequest, SecretKeys, SlotBackend
from thex_hf.ckks.engine import AnyVector, Blinding, ClientEngine, Handle, Plaintext, ServerEngine
from thex_hf.ckks.packing.moves import Move
from thex_hf.ckks.parameters import Parameters

OnKeySwitch = Callable[[], None]

_CALLBACK: ContextVar[OnKeySwitch | None] = ContextVar("on_key_switch", default=None)


@contextmanager
def on_key_switch(callback: OnKeySwitch) -> Iterator[None]:
    """Call ``callback`` after each key switch that this thread's server makes meanwhile."""
    token = _CALLBACK.set(callback)
    try:
        yield
    finally:
        _CALLBACK.reset(token)


@dataclass(frozen=True)
class RecordingBackend:
    """Another backend; its server engines report their key switches.

    Args:
        real: the backend that does it.
    """

    real: SlotBackend

    @property
    def name(self) -> str:
        """The real one's."""
        return self.real.name

    def available(self) -> tuple[bool, str]:
        """As the real one."""
        return self.real.available()

    def generate(self, request: KeyRequest) -> tuple[SecretKeys, EvaluationKeys]:
        """As the real one."""
        return self.real.generate(request)

    def client(self, parameters: Parameters, secret: SecretKeys) -> ClientEngine:
        """The real one's engine."""
        return self.real.client(parameters, secret)

    def server(
        self, parameters: Parameters, evaluation: EvaluationKeys, rotations: tuple[int, ...]
    ) -> ServerEngine:
        """The real one's engine, recorded."""
        return RecordingEngine(self.real.server(parameters, evaluation, rotations))


@dataclass(frozen=True)
class RecordingEngine:
    """Passes every verb on; see :class:`thex_hf.ckks.engine.ServerEngine` for what they do.

    Args:
        real: the engine that does it.
    """

    real: ServerEngine

    @property
    def slots(self) -> int:
        """As the real one."""
        return self.real.slots

    def level(self, a: Handle) -> int:
        """As the real one."""
        return self.real.level(a)

    def scale_ratio(self, level: int) -> float:
        """As the real one."""
        return self.real.scale_ratio(level)

    def encode(self, vector: AnyVector, level: int, *, factor: bool) -> Plaintext:
        """As the real one."""
        return self.real.encode(vector, level, factor=factor)

    def add(self, a: Handle, b: Handle) -> Handle:
        """As the real one."""
        return self.real.add(a, b)

    def sub(self, a: Handle, b: Handle) -> Handle:
        """As the real one."""
        return self.real.sub(a, b)

    def add_plain(self, a: Handle, p: Plaintext) -> Handle:
        """As the real one."""
        return self.real.add_plain(a, p)

    def mul_plain(self, a: Handle, p: Plaintext) -> Handle:
        """As the real one."""
        return self.real.mul_plain(a, p)

    def dot_plain(self, handles: Sequence[Handle], plains: Sequence[Plaintext]) -> Handle:
        """As the real one."""
        return self.real.dot_plain(handles, plains)

    def mul(self, a: Handle, b: Handle) -> Handle:
        """As the real one."""
        return self.real.mul(a, b)

    def rescale(self, a: Handle) -> Handle:
        """As the real one."""
        return self.real.rescale(a)

    def relinearise(self, a: Handle) -> Handle:
        """As the real one; counted."""
        return _count_key_switch(self.real.relinearise(a))

    def rotate(self, a: Handle, step: int) -> Handle:
        """As the real one; counted."""
        return _count_key_switch(self.real.rotate(a, step))

    def conjugate(self, a: Handle) -> Handle:
        """As the real one; counted."""
        return _count_key_switch(self.real.conjugate(a))

    def times_i(self, a: Handle) -> Handle:
        """As the real one."""
        return self.real.times_i(a)

    def rerandomise(self, a: Handle) -> Handle:
        """As the real one."""
        return self.real.rerandomise(a)

    def blind(self, handles: Sequence[Handle]) -> tuple[list[Handle], Blinding]:
        """As the real one."""
        return self.real.blind(handles)

    def unblind(self, handles: Sequence[Handle], blinding: Blinding, move: Move) -> list[Handle]:
        """As the real one."""
        return self.real.unblind(handles, blinding, move)

    def combine(
        self, handles: Sequence[Handle], weights: AnyVector, bias: AnyVector
    ) -> list[Handle]:
        """As the real one."""
        return self.real.combine(handles, weights, bias)

    def mod_switch(self, a: Handle, level: int) -> Handle:
        """As the real one."""
        return self.real.mod_switch(a, level)

    def load(self, data: bytes) -> Handle:
        """As the real one."""
        return self.real.load(data)

    def dump(self, a: Handle) -> bytes:
        """As the real one."""
        return self.real.dump(a)

    def export(self, a: Handle) -> bytes:
        """As the real one."""
        return self.real.export(a)

    def adopt(self, data: bytes) -> Handle:
        """As the real one."""
        return self.real.adopt(data)


def _count_key_switch(result: Handle) -> Handle:
    callback = _CALLBACK.get()
    if callback is not None:
        callback()
    return result
