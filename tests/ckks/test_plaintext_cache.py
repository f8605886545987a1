"""What a bound keeps, over scans that repeat, and in processes that share it."""

import numpy as np
import pytest

from thex_hf.backends.base import EvaluationKeys
from thex_hf.backends.registry import get_backend
from thex_hf.backends.seal.context import SealPlaintext
from thex_hf.ckks.counting import CountingEngine
from thex_hf.ckks.parameters import Parameters
from thex_hf.ckks.plaintext_cache import MemoryBound, PlaintextCache, plaintext_size
from thex_hf.processes import Child, can_fork

SLOTS, LEVEL = 8, 3
SIZE = 16 * SLOTS * (LEVEL + 1)


class Encoder(CountingEngine):
    """Remembers what it has encoded."""

    def __init__(self):
        super().__init__(SLOTS)
        self.seen = []

    def encode(self, vector, level, *, factor):
        self.seen.append(int(vector[0]))
        return super().encode(vector, level, factor=factor)


def scan(cache, engine, count):
    """What is encoded in one pass over ``count`` weights."""
    engine.seen.clear()
    for n in range(count):
        cache.get(engine, n, LEVEL, np.full(SLOTS, float(n)))
    return list(engine.seen)


@pytest.mark.parametrize("room", [0, 1, 3, 9, 10, 99])
def test_each_scan_encodes_only_what_does_not_fit(room):
    bound, engine = MemoryBound(room * SIZE + SIZE // 2), Encoder()
    cache = PlaintextCache(bound)
    assert scan(cache, engine, 10) == list(range(10))
    for repeat in (1, 2, 3):
        assert scan(cache, engine, 10) == list(range(room, 10))
        assert bound.held == cache.held_bytes == min(room, 10) * SIZE <= bound.most
        assert cache.kept == min(room, 10)
        assert cache.dropped == max(0, 10 - room) * (repeat + 1)
    assert bound.full == (room < 10)


def test_without_a_bound_everything_is_kept():
    cache, engine = PlaintextCache(), Encoder()
    scan(cache, engine, 50)
    assert scan(cache, engine, 50) == []
    assert (cache.kept, cache.dropped, cache.bound.full) == (50, 0, False)


def test_several_caches_share_a_bound():
    bound, engine = MemoryBound(5 * SIZE), Encoder()
    one, other = PlaintextCache(bound), PlaintextCache(bound)
    scan(one, engine, 4)
    scan(other, engine, 4)
    assert (one.kept, other.kept, bound.held) == (4, 1, 5 * SIZE)
    assert scan(one, engine, 4) == []
    assert scan(other, engine, 4) == [1, 2, 3]


def test_nothing_to_encode_takes_no_room():
    bound, engine = MemoryBound(0), Encoder()
    cache = PlaintextCache(bound)
    asked = []
    for _ in range(2):
        assert cache.get_or_skip(engine, "zero", LEVEL, lambda: asked.append(1)) is None
    assert (len(asked), bound.held, bound.full) == (1, 0, False)


@pytest.mark.skipif(not can_fork(), reason="no fork on this system")
def test_a_forked_child_keeps_nothing_beside_what_it_shares():
    bound, engine = MemoryBound(100 * SIZE), Encoder()
    cache = PlaintextCache(bound)
    scan(cache, engine, 4)

    def work(channel):
        scan(cache, engine, 8)
        channel.send([scan(cache, engine, 8), bound.held, bound.full])

    child = Child(work)
    assert child.receive() == [[4, 5, 6, 7], 4 * SIZE, True]
    child.wait()
    assert not bound.full


@pytest.mark.skipif(not can_fork(), reason="no fork on this system")
def test_a_process_that_forked_before_anything_was_kept_has_a_bound_of_its_own():
    bound, engine = MemoryBound(4 * SIZE), Encoder()
    cache = PlaintextCache(bound)

    def work(channel):
        scan(cache, engine, 6)
        channel.send(scan(cache, engine, 6))

    child = Child(work)
    assert child.receive() == [4, 5]
    child.wait()


@pytest.mark.parametrize("engine", ["seal", "clear"])
def test_engines_say_what_a_plaintext_takes(engine):
    parameters = Parameters(8192, (40, 30, 30), 40, 30)
    server = get_backend(engine).server(parameters, EvaluationKeys.of(b"", b""), ())
    plain = server.encode(np.arange(parameters.slots) / 4096, 1, factor=True)
    wanted = parameters.slots * (32 if isinstance(plain, SealPlaintext) else 8)
    assert plaintext_size(server, plain, 1) == wanted
