"""A small engine of your own: everything that a slot backend has to offer.

Below is a whole backend: keys, a client engine and a server engine. **It encrypts nothing**: a
"ciphertext" is the numbers themselves, with the level, degree of scale and size that a CKKS library
would give it. Where numpy is called, your library would be. It has no noise, no overflow and few
checks of damaged keys, which the suite in ``tests/conformance`` asks of an engine for use.
The program runs one text through it under two protocols, and compares the logits with those of
the clear model.

About 20 s in all, imports included, and 0.7 GB of memory on a 2-core machine. Needs nothing beyond
the package. What each verb promises: ``docs/adding_a_backend.md``.
"""

# ruff: noqa: D102 (the verbs are described where the protocols are)

from __future__ import annotations

import argparse
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import numpy as np
import torch
from transformers import AutoTokenizer

import thex_hf
from thex_hf.backends.base import (
    EvaluationKeys,
    KeyRequest,
    SecretKeys,
    combine_by_products,
    dot_by_products,
)
from thex_hf.circuits.dispatch import FORMS
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.ckks import rules
from thex_hf.ckks.engine import AnyVector, ComplexVector, Move, Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.ckks.rules import pack_state, unpack_state
from thex_hf.errors import WireError
from thex_hf.local.session import LocalSession


@dataclass(frozen=True)
class Cipher:
    """A handle, or an encoded vector: the slots, and the state that the rules look at."""

    values: AnyVector
    level: int
    degree: int = 1
    size: int = 2
    factor: bool = False


@dataclass(frozen=True)
class Wire:
    """Writes and reads "ciphertexts" of one parameter set and one key."""

    parameters: Parameters
    tag: bytes

    @property
    def slots(self) -> int:
        """Numbers in a "ciphertext"."""
        return self.parameters.slots

    def pack(self, vector: AnyVector, level: int) -> bytes:
        """The numbers, openly, after what they belong to."""
        values = np.asarray(vector, np.complex128).tobytes()
        return msgpack.packb([repr(self.parameters), self.tag, level, values])

    def unpack(self, data: bytes) -> Cipher:
        """Read them; everything that comes off the wire is checked."""
        try:
            *owner, level, data = msgpack.unpackb(data)
            values = np.frombuffer(data, np.complex128)
            fits = values.size == self.slots and 0 <= level <= self.parameters.top_level
        except Exception as error:
            raise WireError(f"own engine: not a message of its own: {error}") from error
        if not (fits and owner == [repr(self.parameters), self.tag] and np.isfinite(values).all()):
            raise WireError("own engine: a message of other parameters or keys, or damaged")
        return Cipher(values, level)


class Client(Wire):
    """Encrypts and decrypts; see :class:`thex_hf.ckks.engine.ClientEngine`."""

    def encrypt(self, vector: AnyVector, level: int) -> bytes:
        rules.check_level(level, self.parameters, "encrypt")
        return self.pack(rules.checked_vector(vector, self.slots, "encrypt"), level)

    def decrypt(self, data: bytes, level: int | None = None) -> Vector:
        return self.decrypt_complex(data, level).real.copy()

    def decrypt_complex(self, data: bytes, level: int | None = None) -> ComplexVector:
        sent = self.unpack(data)
        rules.check_received(sent.level, level)
        return sent.values.astype(np.complex128)

    def renew(
        self,
        data: Sequence[bytes],
        moves: Sequence[tuple[Move, int]],
        level: int | None = None,
    ) -> list[list[bytes]]:
        rules.check_renewing(moves, len(data), self.parameters)
        vectors = [self.decrypt_complex(one, level) for one in data]
        return [[self.encrypt(v, top) for v in move.apply(vectors)] for move, top in moves]


@dataclass(frozen=True)
class Server(Wire):
    """Computes; see :class:`thex_hf.ckks.engine.ServerEngine`."""

    steps: Mapping[int, int]  # the level that each rotation key reaches
    relinearisation: int | None = None  # and these; None: there is no such key
    conjugation: int | None = None
    public: int | None = None

    load = Wire.unpack
    combine = combine_by_products  # a library that has something better uses that
    dot_plain = dot_by_products

    def level(self, a: Cipher) -> int:
        return a.level

    def scale_ratio(self, level: int) -> float:
        rules.check_level(level, self.parameters, "scale_ratio")
        rules.check_product_level(level, "scale_ratio")
        return 1.0

    def encode(self, vector: AnyVector, level: int, *, factor: bool) -> Cipher:
        rules.check_level(level, self.parameters, "encode")
        if factor:
            rules.check_product_level(level, "encode")
        return Cipher(rules.checked_vector(vector, self.slots, "encode"), level, factor=factor)

    def add(self, a: Cipher, b: Cipher) -> Cipher:
        rules.check_add(a, b)
        return replace(a, values=a.values + b.values, size=max(a.size, b.size))

    def sub(self, a: Cipher, b: Cipher) -> Cipher:
        rules.check_add(a, b, "sub")
        return replace(a, values=a.values - b.values, size=max(a.size, b.size))

    def add_plain(self, a: Cipher, p: Cipher) -> Cipher:
        rules.check_plain(a, p, factor=False)
        return replace(a, values=a.values + p.values)

    def mul_plain(self, a: Cipher, p: Cipher) -> Cipher:
        rules.check_plain(a, p, factor=True)
        return replace(a, values=a.values * p.values, degree=2)

    def mul(self, a: Cipher, b: Cipher) -> Cipher:
        bits = self.parameters.modulus_bits(a.level)
        rules.check_mul(a, b, self.parameters.scale_bits, bits)
        return Cipher(a.values * b.values, a.level, degree=2, size=3)

    def rescale(self, a: Cipher) -> Cipher:
        rules.check_degree(a, 2, "rescale")
        return replace(a, level=a.level - 1, degree=1)

    def relinearise(self, a: Cipher) -> Cipher:
        rules.check_relinearisation(a, self.relinearisation)
        return replace(a, size=2)

    def rotate(self, a: Cipher, step: int) -> Cipher:
        if step % self.slots:
            rules.check_rotation(a, step % self.slots, self.steps)
        rules.check_size(a, 2, "rotate")
        return replace(a, values=np.roll(a.values, -step))

    def conjugate(self, a: Cipher) -> Cipher:
        rules.check_conjugation(a, self.conjugation)
        return replace(a, values=a.values.conj())

    def times_i(self, a: Cipher) -> Cipher:
        return replace(a, values=1j * a.values)

    def rerandomise(self, a: Cipher) -> Cipher:
        rules.check_rerandomisation(a, held=self.public is not None)
        return replace(a)  # a library adds an encryption of zero

    def blind(self, handles: Sequence[Cipher]) -> tuple[list[Cipher], list[AnyVector]]:
        rules.check_blinding(handles, held=self.public is not None)
        masks: list[AnyVector] = []  # a library draws integers modulo its whole modulus
        for _ in handles:
            drawn = np.frombuffer(secrets.token_bytes(8 * self.slots), "<i4").reshape(2, -1)
            masks.append((drawn[0] + 1j * drawn[1]) / 2**16)
        pairs = zip(handles, masks, strict=True)
        return [replace(a, values=a.values + mask) for a, mask in pairs], masks

    def unblind(
        self, handles: Sequence[Cipher], blinding: list[AnyVector], move: Move
    ) -> list[Cipher]:
        rules.check_unblinding(handles, len(blinding), self.slots, move)
        pairs = zip(handles, move.apply(blinding), strict=True)
        return [replace(a, values=a.values - mask) for a, mask in pairs]

    def mod_switch(self, a: Cipher, level: int) -> Cipher:
        rules.check_mod_switch(a, level)
        return replace(a, level=level)

    def dump(self, a: Cipher) -> bytes:
        rules.check_dump(a)
        return self.pack(a.values, a.level)

    def export(self, a: Cipher) -> bytes:
        return pack_state(a, np.asarray(a.values, np.complex128).tobytes())

    def adopt(self, data: bytes) -> Cipher:
        level, degree, size, contents = unpack_state(data)
        return Cipher(np.frombuffer(contents, np.complex128), level, degree, size)


class Backend:
    """Makes keys and engines; see :class:`thex_hf.backends.base.SlotBackend`."""

    name = "own"

    def available(self) -> tuple[bool, str]:
        return True, ""

    def generate(self, request: KeyRequest) -> tuple[SecretKeys, EvaluationKeys]:
        request.parameters.require_128_bit()
        secret = secrets.token_bytes(32)
        public = request.parameters.top_level if request.public else None
        reach = [request.relinearisation_level, request.conjugation_level, public]
        steps = list(request.rotation_levels.items())
        keys = msgpack.packb([repr(request.parameters), _tag(secret), reach, steps])
        evaluation = EvaluationKeys.of(b"", keys)
        return SecretKeys(secret, evaluation.key_id), evaluation

    def client(self, parameters: Parameters, secret: SecretKeys) -> Client:
        parameters.require_128_bit()
        return Client(parameters, _tag(secret.reveal()))

    def server(self, parameters: Parameters, keys: EvaluationKeys, rotations: Any) -> Server:
        parameters.require_128_bit()
        if not (keys.rotations or rotations):  # nobody's: it only encodes weights
            return Server(parameters, b"", {})
        try:
            made_for, tag, reach, held = msgpack.unpackb(keys.rotations)
            levels = dict(held)
        except Exception as error:
            raise WireError(f"own engine: damaged evaluation keys: {error}") from error
        if made_for != repr(parameters):
            raise WireError("own engine: evaluation keys of other parameters")
        steps = rules.reduced_steps(rotations, parameters.slots)
        rules.check_steps_held(steps, levels)
        return Server(parameters, tag, {step: levels[step] for step in steps}, *reach)


def _tag(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()[:16]


@torch.no_grad()
def compare(text: str, protocol: str) -> tuple[Vector, Vector]:
    """Logits of a text ``(labels,)``, by the engine above and by the clear model."""
    name = thex_hf.bundled_checkpoint(FORMS[protocol])
    model = thex_hf.ThexBertForSequenceClassification.from_pretrained(name).float().eval()
    inputs = AutoTokenizer.from_pretrained(name, trust_remote_code=False)(text, return_tensors="pt")
    session = LocalSession(
        model.encoder_weights(), Backend(), PlanOptions(protocol), ranges=model.config.ranges
    )
    embedded = model.embed(inputs["input_ids"])[0].double().numpy()
    clear = model(**inputs).logits[0].double().numpy()
    return session.run(embedded).logits, clear


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", nargs="?", default="a warm , funny and beautifully acted film")
    parser.add_argument("--protocol", nargs="+", default=["client-aided", "refresh"])
    options = parser.parse_args(argv)
    for protocol in options.protocol:
        own, clear = compare(options.text, protocol)
        gap = float(np.abs(own - clear).max())
        same = gap < 2e-2 and own.argmax() == clear.argmax()  # refresh adds noise to its answer
        print(f"{protocol}: own engine {own.round(3)}, clear model {clear.round(3)}")
        print(f"  largest difference {gap:.1e}: {'the same' if same else 'NOT the same'}")


if __name__ == "__main__":
    main()
