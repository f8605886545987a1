"""What a client sees that deviates from ``refresh``: nothing but uniform integers."""

from dataclasses import dataclass

import numpy as np
import pytest
from polynomial_runs import real_halves

from thex_hf.backends.numerics.embedding import Complex, Double, coefficients_of
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.messages import Message
from thex_hf.protocol.server import ServerRun

LIFT = 2.0**40
BINS = 64


@dataclass
class Deviating(ClientRun):
    """Multiplies its encrypted ``mask / n``, or sends garbage in everything."""

    how: str = "honest"

    def _encrypt(self, vectors, level):
        room = 2.0 ** (self.plan.parameters.modulus_bits(level) - self.plan.parameters.scale_bits)
        if self.how == "garbage":
            rng = np.random.default_rng()
            vectors = [rng.uniform(-0.2, 0.2, self.engine.slots) * room for _ in vectors]
        return super()._encrypt(vectors, level)

    def _inputs(self):
        parts = super()._inputs()
        if self.how == "lifted":
            schedule, own = self.plan.schedule, self.mask[:, None] / len(self.embeddings) * LIFT
            for index, (layout, level) in enumerate(
                schedule.averaging_masks, start=len(schedule.request)
            ):
                parts[index] = self._encrypt(layout.pack(own.repeat(layout.features, 1)), level)
        return parts


@pytest.fixture(scope="module")
def halves():
    return real_halves()


def first_visit(halves, how, monkeypatch):
    """What the client decrypts, and what the server had before it hid it."""
    model, plan, client, server, key_id = halves
    held, blind = [], server.blind

    def watched(handles):
        held.extend(client.decrypt_complex(server.dump(a)) for a in handles)
        return blind(handles)

    monkeypatch.setattr(server, "blind", watched)
    run = Deviating(plan, client, key_id, np.full((3, 16), 0.5), how)
    round_trip = Message.from_bytes(ServerRun(model, plan, server, key_id).start(run.request()))
    monkeypatch.undo()
    return client.decrypt_complex(round_trip.parts[0][0]), held[0]


def numbers(slots):
    zeros = np.zeros(slots.size)
    real, imaginary = (np.ascontiguousarray(part) for part in (slots.real, slots.imag))
    return coefficients_of(Complex(Double(real, zeros), Double(imaginary, zeros))).high


@pytest.mark.parametrize("how", ["honest", "lifted", "garbage"])
def test_what_it_decrypts_is_uniform_and_tells_nothing_of_what_the_server_had(
    halves, how, monkeypatch
):
    stats = pytest.importorskip("scipy.stats")
    parameters = halves[1].parameters
    half = 2.0 ** (parameters.modulus_bits(1) - parameters.scale_bits - 1)
    seen, held = first_visit(halves, how, monkeypatch)
    coefficients = numbers(seen) / half
    largest = np.abs(coefficients).max()
    assert 0.9 < largest < 1.1  # modulus_bits counts whole bits
    counts, _ = np.histogram(coefficients, BINS, (-largest, largest))
    assert stats.chisquare(counts).pvalue > 1e-9
    for truth, found in ((held.real, seen.real), (held.imag, seen.imag)):
        if truth.std() > 0:
            assert abs(np.corrcoef(truth, found)[0, 1]) < 0.1  # 6 deviations of 4096 slots
    if how == "lifted":  # without the mask it would be in the open, far above any noise
        assert np.abs(held).max() > 2.0**33


def test_the_same_tests_see_masks_of_thirty_bits(halves, monkeypatch):
    """What ``refresh`` had before: the lifted attention output stands out."""
    _, held = first_visit(halves, "lifted", monkeypatch)
    mask = np.random.default_rng(1).uniform(-(2.0**34), 2.0**34, held.size)
    assert np.corrcoef(held.real, held.real + mask)[0, 1] > 0.3
