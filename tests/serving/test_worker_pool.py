"""Workers that die, hang and are replaced; the weights' way to them."""

import asyncio
import hashlib
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from reference import random_weights
from served import load, spec_of

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.plan_reading import read_plan
from thex_hf.client.exchange import Keys
from thex_hf.client.half import ClientHalf
from thex_hf.errors import (
    BusyError,
    ChildError,
    ConversionError,
    ExpiredError,
    KeyMismatch,
    KeyStoreError,
    OptionError,
    TooLargeError,
    WireError,
)
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import key_request
from thex_hf.serving.spec import Spec, weights_from_bytes, weights_to_bytes
from thex_hf.serving.worker import Job
from thex_hf.serving.worker_handles import ForkedWorkerFactory, ForkServerClient
from thex_hf.serving.worker_pool import WorkerPool

TEXT = "A warm, funny film."


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def spec(model, tmp_path_factory):
    return spec_of(model, tmp_path_factory.mktemp("keys"), run_seconds=60.0)


@pytest.fixture(scope="module")
def fork_server(spec):
    fork_server = ForkServerClient(spec)
    fork_server.served = fork_server.start()
    yield fork_server
    fork_server.stop()


class Client:
    """One client's keys, on the repository, and its texts."""

    def __init__(self, fork_server, spec, owner="ann"):
        self.plan = read_plan(fork_server.served.info["plans"]["16"])
        backend = get_backend(spec.backend)
        secret, evaluation = backend.generate(key_request(self.plan))
        self.engine, self.key_id = backend.client(self.plan.parameters, secret), evaluation.key_id
        about = (self.plan.key_set, spec.backend, self.key_id)
        file = Keys(self.engine, *about, evaluation.size, evaluation).file
        self.owner, self.keys = owner, hashlib.sha256(file).hexdigest()
        repository = spec.open_repository()
        repository.begin(self.keys, owner, len(file))
        repository.write(self.keys, owner, 0, file)
        import thex_hf

        self.half = ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))

    def run(self, text=TEXT):
        embeddings = self.half.embed(*self.half.tokenise(text))
        return ClientRun(self.plan, self.engine, self.key_id, embeddings)

    def job(self, run, data):
        return Job("answer", self.owner, self.keys, run.run, data)


@pytest.fixture(scope="module")
def client(fork_server, spec):
    return Client(fork_server, spec)


async def talk(pool, client, run, data=None):
    """Finish a run; its logits."""
    data = data or run.request()
    while data is not None:
        data = run.receive((await pool.ask(client.job(run, data)))["data"])
    return run.logits


def pids(pool):
    return [worker.handle.pid for worker in pool._workers]


def with_pool(fork_server, test, **options):
    async def live():
        lines = []
        pool = WorkerPool(ForkedWorkerFactory(fork_server), log=lines.append, **options)
        await pool.start()
        try:
            return await test(pool)
        finally:
            await pool.stop()

    return asyncio.run(live())


def test_runs_of_several_clients_side_by_side(fork_server, spec, client):
    other = Client(fork_server, spec, "bob")

    async def test(pool):
        texts = ["A warm film.", "Dull.", "Dreadful, and far too long."]
        both = [(one, text) for one in (client, other) for text in texts]
        logits = await asyncio.gather(*(talk(pool, one, one.run(text)) for one, text in both))
        for first, second in zip(logits[:3], logits[3:], strict=True):
            np.testing.assert_allclose(first, second, atol=1e-2)
        assert np.abs(logits[0] - logits[1]).max() > 1
        assert (pool.runs, pool.waiting, pool.replaced) == (0, 0, 0)

    with_pool(fork_server, test, size=2)


def test_a_killed_worker_costs_its_run_and_is_replaced(fork_server, client):
    async def test(pool):
        run = client.run()
        first = await pool.ask(client.job(run, run.request()))
        (pid,) = pids(pool)
        os.kill(pid, signal.SIGSTOP)
        asked = asyncio.create_task(pool.ask(client.job(run, run.receive(first["data"]))))
        await asyncio.sleep(0.2)
        waiting = asyncio.create_task(talk(pool, client, client.run("waits")))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ChildError, match=r"killed by signal 9 .*send the text again"):
            await asked
        assert (await waiting) is not None  # what had waited is served by the new one
        assert pids(pool) != [pid]
        assert pool.replaced == 1
        late = client.run()
        with pytest.raises(ExpiredError):
            await pool.ask(replace(client.job(run, run.request()), data=_reply_of(run)))
        assert await talk(pool, client, late) is not None

    with_pool(fork_server, test, size=1)


def _reply_of(run):
    from thex_hf.protocol.messages import Message

    return Message("reply", run.plan.id, run.key_id, run.run, 1, [[b"x"]]).to_bytes()


def test_an_idle_worker_that_died_costs_nothing(fork_server, client):
    async def test(pool):
        os.kill(pids(pool)[0], signal.SIGKILL)
        await asyncio.sleep(0.3)
        assert await talk(pool, client, client.run()) is not None
        assert pool.replaced == 1

    with_pool(fork_server, test, size=1)


def test_a_worker_that_hangs_is_ended(fork_server, client):
    async def test(pool):
        os.kill(pids(pool)[0], signal.SIGSTOP)
        run = client.run()
        with pytest.raises(ChildError, match="took more than 1 s"):
            await pool.ask(client.job(run, run.request()))
        pool.seconds = 60.0
        assert await talk(pool, client, client.run()) is not None

    with_pool(fork_server, test, size=1, seconds=1.0)


def test_a_lost_fork_server_is_started_anew(spec, client):
    lone = ForkServerClient(spec)
    lone.served = lone.start()

    async def test(pool):
        lone._process.kill()
        lone._process.wait()
        assert await talk(pool, client, client.run()) is not None  # workers live on
        os.kill(pids(pool)[0], signal.SIGKILL)
        await asyncio.sleep(0.3)
        assert await talk(pool, client, client.run()) is not None

    with_pool(lone, test, size=1)
    lone.stop()


def test_new_texts_are_turned_away_and_running_ones_are_not(fork_server, client):
    async def test(pool):
        run = client.run()
        first = await pool.ask(client.job(run, run.request()))
        os.kill(pids(pool)[0], signal.SIGSTOP)
        fresh = [client.run() for _ in range(2)]
        asked = [asyncio.create_task(pool.ask(client.job(r, r.request()))) for r in fresh]
        await asyncio.sleep(0.2)
        extra = client.run()
        with pytest.raises(BusyError, match="2 requests wait for 1 workers"):
            await pool.ask(client.job(extra, extra.request()))
        goes_on = asyncio.create_task(talk(pool, client, run, run.receive(first["data"])))
        await asyncio.sleep(0.1)
        os.kill(pids(pool)[0], signal.SIGCONT)
        assert await goes_on is not None
        await asyncio.gather(*asked)
        assert pool.wait_seconds() >= 1

    with_pool(fork_server, test, size=1, most_waiting=2)


def test_a_caller_that_goes_away_leaves_the_worker_in_step(fork_server, client):
    async def test(pool):
        run, other = client.run(), client.run("Another text.")
        gone = asyncio.create_task(pool.ask(client.job(run, run.request())))
        await asyncio.sleep(0.05)
        gone.cancel()
        assert await talk(pool, client, other) is not None

    with_pool(fork_server, test, size=1)


def test_bad_messages_and_keys(fork_server, spec, client):
    async def test(pool):
        run = client.run()
        for data, error in ((b"", WireError), (run.request()[:-5], WireError)):
            with pytest.raises(error):
                await pool.ask(client.job(run, data))
        nobody = replace(client.job(run, run.request()), owner="eve")
        with pytest.raises(KeyMismatch, match="of yours"):
            await pool.ask(nobody)
        junk = b"not a key file"
        name = hashlib.sha256(junk).hexdigest()
        repository = spec.open_repository()
        repository.begin(name, "ann", len(junk))
        repository.write(name, "ann", 0, junk)
        with pytest.raises(WireError, match="truncated or damaged"):
            await pool.ask(Job("keys", "ann", name))
        await pool.ask_all(Job("forget", "ann", client.keys))
        assert await talk(pool, client, client.run()) is not None  # from the repository again
        fresh = client.run()
        await pool.ask(client.job(fresh, fresh.request()))
        await pool.give_up("ann", client.keys, fresh.run)
        assert pool.runs == 0

    with_pool(fork_server, test, size=2)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_a_worker_may_take_so_much_memory_and_no_more(model, tmp_path):
    """What would exhaust the machine is refused, and the worker lives on."""
    spec = spec_of(model, tmp_path, memory=64 << 20)
    lone = ForkServerClient(spec)
    lone.served = lone.start()
    client = Client(lone, spec)

    async def test(pool):
        huge = spec.open_repository()
        data = bytes(100 << 20)
        name = hashlib.sha256(data).hexdigest()
        huge.begin(name, "ann", len(data))
        huge.write(name, "ann", 0, data)
        before = pids(pool)
        with pytest.raises(TooLargeError, match="more memory"):
            await pool.ask(Job("keys", "ann", name))
        assert await talk(pool, client, client.run()) is not None
        assert pids(pool) == before

    with_pool(lone, test, size=1)
    lone.stop()


@pytest.mark.usefixtures("nothing_left")
def test_two_workers_draw_different_randomness(fork_server):
    """They come from one process; nothing random may be copied."""
    from thex_hf.circuits import masks
    from thex_hf.processes import Child

    def draw(channel):
        channel.send(masks.uniform(4, 1.0).tolist())

    children = [Child(draw), Child(draw)]
    first, second = (child.receive() for child in children)
    assert [child.wait() for child in children] == [0, 0]
    assert not set(first) & set(second)


def test_workers_end_with_the_server(spec):
    lone = ForkServerClient(spec)
    lone.served = lone.start()
    pid, end = lone.fork()
    lone.stop()
    end.close()
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("a worker outlived its server")


def test_no_process_that_computes_has_torch(fork_server):
    async def test(pool):
        for pid in (*pids(pool), fork_server._process.pid):
            with open(f"/proc/{pid}/maps") as maps:
                assert "libtorch" not in maps.read()

    if os.path.exists("/proc/self/maps"):
        with_pool(fork_server, test, size=1)


def test_what_cannot_be_served_is_said_at_once(model, tmp_path):
    with pytest.raises(KeyStoreError, match="make the folder"):
        ForkServerClient(spec_of(model, "/proc/no/such")).start()
    with pytest.raises(OptionError, match="buckets"):
        spec_of(model, tmp_path, buckets=(17,))
    with pytest.raises(OptionError, match="above zero"):
        spec_of(model, tmp_path, runs=0)
    with pytest.raises(ConversionError, match="no encoder's weights"):
        ForkServerClient(Spec(b"junk", str(tmp_path))).start()


def test_weights_and_specs_come_back_the_same(model, tmp_path):
    polynomial = load("polynomial").encoder_weights()
    for weights in (model.encoder_weights(), polynomial, random_weights()):
        again = weights_from_bytes(weights_to_bytes(weights))
        assert again.fingerprint() == weights.fingerprint()
    spec = spec_of(model, tmp_path)
    assert Spec.from_message(spec.to_message()) == spec
    assert str(tmp_path) not in repr(spec)
