"""An engine of preparations that encrypts nothing: what a real one must agree with."""

from collections.abc import Sequence

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.prepared.bfv.slots import from_slots, to_slots
from thex_hf.prepared.field import Field


class ClearCipher:
    """Slots as they are. Client's and server's verbs."""

    def __init__(self, numbers: Field, ring_degree: int) -> None:
        self.numbers, self.degree = numbers, ring_degree

    def encrypt(self, slots: Words) -> list[bytes]:
        assert slots.shape[1] == self.degree
        return [row.tobytes() for row in slots]

    def decrypt(self, data: Sequence[bytes]) -> Words:
        return np.stack([np.frombuffer(row, np.uint64) for row in data])

    load = decrypt

    def linear(self, weights: np.ndarray, inputs: Words) -> Words:
        return self.numbers.weigh(weights, inputs.T).T

    def add(self, one: Words, other: Words) -> Words:
        return self.numbers.add(one, other)

    def cross(self, plain: Words, inputs: Words) -> Words:
        columns = np.moveaxis(from_slots(inputs, self.degree // plain.shape[2]), 1, 0)
        out = self.numbers.matmul(np.moveaxis(plain, 2, 0), columns)  # (B, o, a)
        return to_slots(np.moveaxis(out, 1, 0))

    def times(self, plain: Words, inputs: Words) -> Words:
        return self.numbers.multiply(plain, inputs)

    def finish(self, outputs: Words, masks: Words, noise_bits: int) -> list[bytes]:
        return self.encrypt(self.numbers.add(outputs, masks))
