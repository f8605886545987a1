"""The noise model against SEAL for complex slots and for many primes of 30 bits."""

from __future__ import annotations

import numpy as np
import pytest

from thex_hf.backends.base import KeyRequest, SlotBackend
from thex_hf.backends.clear.backend import BACKEND as CLEAR
from thex_hf.backends.numerics.noise import NoiseModel
from thex_hf.backends.registry import get_backend
from thex_hf.ckks.engine import AnyVector
from thex_hf.ckks.parameters import Parameters

DEEP = Parameters(8192, (50, 38, 38, 38), 54, 38)
NARROW = Parameters(16384, (38, *[30] * 12), 40, 30)  # 438 bits, the most at 128-bit security
CASES = {"deep": (DEEP, 2), "narrow, low": (NARROW, 1), "narrow, high": (NARROW, 12)}
KINDS = [
    "fresh",
    "mul_plain, rescale",
    "mul, relinearise, rescale",
    "rotate",
    "conjugate",
    "rerandomise",
    "real and imaginary",
    "masked",
]


def measure(backend: SlotBackend, parameters: Parameters) -> dict[str, dict[str, AnyVector]]:
    """Complex errors of each kind of operation in each case with these parameters."""
    secret, evaluation = backend.generate(KeyRequest(parameters, (1,), True, True, True))
    client = backend.client(parameters, secret)
    server = backend.server(parameters, evaluation, (1,))
    rng = np.random.default_rng(0)
    x, y = (np.ascontiguousarray(v) for v in rng.uniform(-1, 1, (2, parameters.slots, 2)) @ (1, 1j))
    mask = (2.0 ** (parameters.scale_bits - 4)) * (x[::-1] + y)

    def at(level: int) -> dict[str, AnyVector]:
        def error(handle: object, truth: AnyVector) -> AnyVector:
            return client.decrypt_complex(server.dump(handle)) - truth

        a, b = (server.load(client.encrypt(v, level)) for v in (x, y))
        factor, addend = (server.encode(v, level, factor=f) for v, f in ((y, True), (mask, False)))
        real, imaginary = (server.load(client.encrypt(v, level)) for v in (x.real, x.imag))
        masked = client.decrypt_complex(server.dump(server.add_plain(a, addend)))
        product = server.rescale(server.relinearise(server.mul(a, b)))
        return {
            "fresh": error(a, x),
            "mul_plain, rescale": error(server.rescale(server.mul_plain(a, factor)), x * y),
            "mul, relinearise, rescale": error(product, x * y * server.scale_ratio(level)),
            "rotate": error(server.rotate(a, 1), np.roll(x, -1)),
            "conjugate": error(server.conjugate(a), x.conj()),
            "rerandomise": error(server.rerandomise(a), x),
            "real and imaginary": error(server.add(real, server.times_i(imaginary)), x),
            "masked": masked - (x + mask),
        }

    return {name: at(level) for name, (held, level) in CASES.items() if held == parameters}


@pytest.fixture(scope="module")
def errors() -> dict[str, dict[str, dict[str, AnyVector]]]:
    seal = get_backend("seal")
    usable, reason = seal.available()
    if not usable:
        pytest.skip(reason)
    return {
        backend.name: measure(backend, DEEP) | measure(backend, NARROW) for backend in (seal, CLEAR)
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_both_parts_err_as_much_as_in_seal(
    errors: dict[str, dict[str, dict[str, AnyVector]]], case: str, kind: str
) -> None:
    seal, clear = (errors[name][case][kind] for name in ("seal", "clear"))
    for ours, theirs in ((clear.real, seal.real), (clear.imag, seal.imag)):
        ours, theirs = ours[1:], theirs[1:]  # slot 0 of a key switch is a single large draw
        assert 0.5 < ours.std() / theirs.std() < 2
        tails = [np.quantile(np.abs(part), 0.999) for part in (ours, theirs)]
        assert 0.4 < tails[0] / tails[1] < 2.5
    if kind not in ("rotate", "conjugate"):  # few slots have most of those errors
        assert abs(np.corrcoef(seal.real, seal.imag)[0, 1]) < 0.1


@pytest.mark.parametrize("case", CASES)
def test_formulas_give_the_measured_spread(
    errors: dict[str, dict[str, dict[str, AnyVector]]], case: str
) -> None:
    parameters, level = CASES[case]
    model, seal = NoiseModel(parameters, np.random.default_rng(0)), errors["seal"][case]
    scale = parameters.scale

    def rms(*parts: AnyVector | float) -> float:
        slots = (np.broadcast_to(part, parameters.slots)[1:] for part in parts)
        return float(np.sqrt(sum(np.mean(np.square(part)) for part in slots)))

    fresh = rms(model.fresh(scale), model.encode(scale))
    passed = fresh * np.sqrt(2 / 3)  # the mean square of a factor
    last = parameters.prime_bits[level]
    key = model.key_switch(level, scale * 2.0**last)
    wanted = {
        "fresh": fresh,
        "mul_plain, rescale": rms(model.rescale(2, scale), passed),
        "mul, relinearise, rescale": rms(model.rescale(2, scale), passed, passed, key),
        "rotate": rms(model.key_switch(level, scale), fresh),
        "conjugate": rms(model.key_switch(level, scale), fresh),
        "rerandomise": rms(model.public(level, scale), fresh),
    }
    for kind, std in wanted.items():
        assert 0.5 < std / seal[kind][1:].real.std() < 2, kind
        assert 0.5 < std / seal[kind][1:].imag.std() < 2, kind


def test_a_special_prime_below_the_others_ruins_key_switches() -> None:
    """The digit of a prime is divided by the special one, so that must be the larger."""
    good, bad = (
        NoiseModel(Parameters(16384, (first, *[30] * 12), special, 30), np.random.default_rng(0))
        for first, special in ((38, 40), (40, 38))
    )
    switches = [np.sqrt(np.mean(model.key_switch(3, 2.0**30) ** 2)) for model in (good, bad)]
    assert switches[1] > 10 * switches[0]
