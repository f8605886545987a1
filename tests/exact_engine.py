"""A slot engine without noise or wire: numbers beside the counting engine's rules."""

import numpy as np

from thex_hf.ckks.counting import CountingEngine, SymbolicCiphertext

# Masks of 2**34 leave numbers of float64 about 2**-18, which the circuit may enlarge: over 600
# runs of the polynomial circuit with fresh masks the largest error was 1.1e-5.
MASK_ROUNDING = 1e-4


class ExactEngine:
    """Handles are pairs (values, symbolic); every rule of the counting engine applies."""

    def __init__(self, slots):
        self.rules = CountingEngine(slots)
        self.slots = slots

    def encrypt(self, vector, level):
        return vector, SymbolicCiphertext(level)

    def level(self, a):
        return a[1].level

    def encode(self, vector, level, *, factor):
        return vector, self.rules.encode(vector, level, factor=factor)

    def add(self, a, b):
        return a[0] + b[0], self.rules.add(a[1], b[1])

    def scale_ratio(self, level):
        return self.rules.scale_ratio(level)

    def sub(self, a, b):
        return a[0] - b[0], self.rules.sub(a[1], b[1])

    def add_plain(self, a, p):
        return a[0] + p[0], self.rules.add_plain(a[1], p[1])

    def mul_plain(self, a, p):
        return a[0] * p[0], self.rules.mul_plain(a[1], p[1])

    def dot_plain(self, handles, plains):
        symbolic = self.rules.dot_plain([a[1] for a in handles], [p[1] for p in plains])
        return sum(a[0] * p[0] for a, p in zip(handles, plains, strict=True)), symbolic

    def mul(self, a, b):
        return a[0] * b[0], self.rules.mul(a[1], b[1])

    def rescale(self, a):
        return a[0], self.rules.rescale(a[1])

    def relinearise(self, a):
        return a[0], self.rules.relinearise(a[1])

    def rotate(self, a, step):
        return np.roll(a[0], -step), self.rules.rotate(a[1], step)

    def conjugate(self, a):
        return np.conj(a[0]), self.rules.conjugate(a[1])

    def times_i(self, a):
        return 1j * a[0], self.rules.times_i(a[1])

    def rerandomise(self, a):
        return a[0], self.rules.rerandomise(a[1])

    def blind(self, handles):
        symbolic, _ = self.rules.blind([a[1] for a in handles])
        drawn = np.random.default_rng().normal(size=(2, len(handles), self.slots)) * 2.0**10
        masks = list(drawn[0] + 1j * drawn[1])
        hidden = [a[0] + mask for a, mask in zip(handles, masks, strict=True)]
        return list(zip(hidden, symbolic, strict=True)), masks

    def unblind(self, handles, blinding, move):
        symbolic = self.rules.unblind([a[1] for a in handles], len(blinding), move)
        shown = [a[0] - mask for a, mask in zip(handles, move.apply(blinding), strict=True)]
        return list(zip(shown, symbolic, strict=True))

    def combine(self, handles, weights, bias):
        symbolic = self.rules.combine([a[1] for a in handles], weights, bias)
        values = weights @ np.stack([a[0] for a in handles]) + bias[:, None]
        return list(zip(values, symbolic, strict=True))

    def mod_switch(self, a, level):
        return a[0], self.rules.mod_switch(a[1], level)

    def export(self, a):
        values = np.asarray(a[0], dtype=np.complex128)
        return self.rules.export(a[1]) + values.tobytes()

    def adopt(self, data):
        values = np.frombuffer(data[-16 * self.slots :], dtype=np.complex128)
        return values, self.rules.adopt(data[: -16 * self.slots])
