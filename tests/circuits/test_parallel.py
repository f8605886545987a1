"""Tasks side by side: same results, errors as they were, and nothing left behind."""

import atexit
import os
import signal

import numpy as np
import pytest
from exact_engine import ExactEngine
from polynomial_runs import CASES, pack_request
from reference import random_polynomial_weights

from thex_hf.backends.base import KeyRequest
from thex_hf.backends.seal.backend import SealBackend
from thex_hf.circuits.flood import NO_FLOOD
from thex_hf.circuits.masks import RangeBits
from thex_hf.circuits.parallel import SEQUENTIAL, ForkedRunner, runner_for
from thex_hf.circuits.planning import count_operations, shape_of
from thex_hf.circuits.polynomial.folding import fold_polynomial
from thex_hf.circuits.polynomial.refresh_schedule import SingleRefreshSchedule
from thex_hf.circuits.single.planner import few_baby_steps, single_circuit
from thex_hf.ckks.counting import CountingEngine, SymbolicCiphertext
from thex_hf.ckks.parameters import Parameters
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.errors import ChildError, OptionError, PlanError

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
    pytest.mark.usefixtures("nothing_left"),
]
SYMBOLIC = SymbolicCiphertext(3)


@pytest.fixture
def forked():
    side = ForkedRunner(2)
    yield side
    side.collect()


SMALL = ({"hidden": 16, "intermediate": 24}, 512, 16, 11)


def setting(case, *, one_shot=True):
    sizes, slots, tokens, length = CASES.get(case, SMALL)
    weights = random_polynomial_weights(**sizes)
    shape = few_baby_steps(shape_of(weights, tokens, 2 * slots))
    every = SingleRefreshSchedule.best(shape, weights.layers[0].polynomial.power, 1, 99)
    refreshes = every[0] if one_shot else every[-1]
    embeddings = np.random.default_rng(5).normal(size=(length, weights.hidden)) * 0.7
    return weights, refreshes, list(pack_request(refreshes.schedule, embeddings, tokens))


def circuit(weights, refreshes, side):
    bits = RangeBits((), (4,) * (2 * len(weights.layers)))
    layers = fold_polynomial(weights)
    return single_circuit(refreshes, bits, layers, NO_FLOOD, runner=side)


def answer(engine, steps, schedule):
    """The answer's handles; at rests the client encrypts what it got, at its level."""
    try:
        sent = next(steps)
        for round_trip in schedule.round_trips:
            (part,), (handles,) = round_trip.parts, sent
            values = part.sends.unpack([np.real(a[0]) for a in handles])
            reply = [
                [engine.encrypt(v, level) for v in lay.pack(values[: lay.tokens])]
                for lay, level in part.returns
            ]
            sent = steps.send([reply])
    except StopIteration as stop:
        return stop.value
    raise AssertionError("more visits than the schedule has")


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("one_shot", [True, False])
@pytest.mark.parametrize("case", ["two tiles", "one layer", "power six"])
def test_numbers_are_the_same_up_to_the_masks_rounding(case, one_shot, processes):
    weights, refreshes, packed = setting(case, one_shot=one_shot)
    found = []
    for side in (SEQUENTIAL, ForkedRunner(processes)):
        engine = ExactEngine(refreshes.shape.geometry.slots)
        request = [[engine.encrypt(v, level) for v in vectors] for vectors, level in packed]
        steps = circuit(weights, refreshes, side)(engine, PlaintextCache(), request)
        found.append([a[0] for a in answer(engine, steps, refreshes.schedule)])
        side.collect()
    if one_shot:  # without a mask, to the last bit
        np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-9)


def test_ciphertexts_are_the_same_to_the_last_bit():
    weights, refreshes, packed = setting("small")
    bits = (38,) + (30,) * refreshes.top_level
    parameters = Parameters(2 * refreshes.shape.geometry.slots, bits, 40, 30)
    backend = SealBackend.insecure_for_tests()
    record = count_operations(
        circuit(weights, refreshes, SEQUENTIAL), refreshes.schedule, parameters.slots
    )
    steps = tuple(record.rotations)
    secret, keys = backend.generate(
        KeyRequest(parameters, steps, relinearisation=True, conjugation=True, public=True)
    )
    client = backend.client(parameters, secret)
    engine = backend.server(parameters, keys, steps)
    engine.rerandomise = lambda a: a
    request = [
        [engine.load(client.encrypt(v, level)) for v in vectors] for vectors, level in packed
    ]
    cache, found = PlaintextCache(), []
    for side in (SEQUENTIAL, ForkedRunner(2)):
        steps = circuit(weights, refreshes, side)(engine, cache, request)
        handles = answer(engine, steps, refreshes.schedule)
        found.append([client.decrypt(engine.dump(a)) for a in handles])
        side.collect()
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0]).max() > 0


def test_results_come_in_the_order_of_the_tasks():
    engine, side = CountingEngine(8), ForkedRunner(2)
    tasks = [lambda n=n: [SymbolicCiphertext(n)] * n for n in range(5)]
    assert side.run(engine, tasks) == [[SymbolicCiphertext(n)] * n for n in range(5)]
    assert side.run(engine, tasks[:1]) == [[]]
    side.collect()


def test_large_results_do_not_block(forked):
    engine = ExactEngine(1 << 16)
    handle = engine.encrypt(np.arange(1 << 16) * 1j, 3)
    results = forked.run(engine, [lambda: [handle] * 20] * 2)
    assert all(np.array_equal(a[0], handle[0]) for handles in results for a in handles)


def test_the_first_task_runs_here_and_the_second_in_a_child(forked):
    here, elsewhere = forked.run(
        CountingEngine(8), [lambda: [SymbolicCiphertext(os.getpid() % 60000)]] * 2
    )
    assert here == [SymbolicCiphertext(os.getpid() % 60000)] != elsewhere


def test_a_task_in_a_child_does_not_fork_again(forked):
    engine = CountingEngine(8)

    def nested():
        pids = [lambda: [SymbolicCiphertext(os.getpid() % 60000)]] * 2
        return [a for handles in forked.run(engine, pids) for a in handles]

    _, inner = forked.run(engine, [list, nested])
    assert inner[0] == inner[1]


def test_an_error_of_a_child_is_raised_here(forked):
    def fail():
        raise PlanError("seven levels are missing")

    with pytest.raises(PlanError) as caught:
        forked.run(CountingEngine(8), [lambda: [SYMBOLIC], fail])
    assert str(caught.value) == "seven levels are missing"
    assert "in fail" in caught.value.__notes__[0]


def test_a_foreign_error_of_a_child_is_named(forked):
    with pytest.raises(ChildError, match="raised ZeroDivisionError: division by zero"):
        forked.run(CountingEngine(8), [lambda: [SYMBOLIC], lambda: [1 / 0]])


def test_an_error_here_ends_the_children(forked):
    def wait():
        signal.pause()

    with pytest.raises(PlanError, match="here"):
        forked.run(CountingEngine(8), [lambda: (_ for _ in ()).throw(PlanError("here")), wait])


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"killed by signal 9 \(SIGKILL\)"),
        (lambda: os._exit(7), "exit code 7"),
        (lambda: (_ for _ in ()).throw(SystemExit(3)), "exit code 1"),
    ],
)
def test_a_dead_child_is_reported(forked, end, message):
    with pytest.raises(ChildError, match=message):
        forked.run(CountingEngine(8), [lambda: [SYMBOLIC], end])


def test_a_child_runs_no_exit_handlers_and_flushes_nothing(tmp_path, forked):
    mark, here = tmp_path / "mark", os.getpid()
    handler = atexit.register(lambda: os.getpid() == here or mark.write_text("ran"))
    with (tmp_path / "buffered").open("w") as file:
        file.write("once")
        forked.run(CountingEngine(8), [list, list])
        forked.collect()
    atexit.unregister(handler)
    assert not mark.exists()
    assert (tmp_path / "buffered").read_text() == "once"


@pytest.fixture
def listening():
    """Python's own handler, also where the tests were started with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_interrupts_end_the_children(forked):
    def interrupted():
        signal.raise_signal(signal.SIGINT)
        return []

    with pytest.raises(KeyboardInterrupt):
        forked.run(CountingEngine(8), [interrupted, signal.pause])


def test_numbers_of_processes():
    assert runner_for(1) is SEQUENTIAL
    assert runner_for(3).processes == 3
    with pytest.raises(OptionError, match="whole number"):
        runner_for(0)


def test_counting_sees_the_same_work_whatever_the_runner():
    weights, refreshes, _ = setting("two tiles")
    one = count_operations(circuit(weights, refreshes, SEQUENTIAL), refreshes.schedule, 1024)
    again = count_operations(circuit(weights, refreshes, ForkedRunner(1)), refreshes.schedule, 1024)
    assert one.operations == again.operations
