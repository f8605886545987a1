"""A key directory that several processes share, some of which are killed: real processes."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thex_hf.backends.base import EvaluationKeys, SecretKeys
from thex_hf.protocol.keys import KeyStore

PLAN, BACKEND = "0123456789abcdef" * 2, "clear"
PROCESSES = multiprocessing.get_context("fork")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


def fresh(size: int = 20_000) -> tuple[SecretKeys, EvaluationKeys]:
    evaluation = EvaluationKeys.of(os.urandom(16), os.urandom(size))
    return SecretKeys(evaluation.key_id.encode(), evaluation.key_id), evaluation


def take(place: Path) -> tuple[SecretKeys, EvaluationKeys]:
    """What every session does: load, else make and save."""
    store = KeyStore(place)
    return store.load(PLAN, BACKEND) or store.save(PLAN, BACKEND, *fresh())


def start(work: Callable[..., Any], *arguments: Any) -> Any:
    child = PROCESSES.Process(target=work, args=arguments)
    child.start()
    return child


def test_processes_that_share_a_directory_all_use_one_pair(tmp_path: Path) -> None:
    def work(place: Path, gate: Any, out: Any) -> None:
        gate.wait()
        secret, evaluation = take(place)
        out.put((secret.reveal().decode(), evaluation.key_id))

    for index in range(6):
        place, gate, out = tmp_path / str(index), PROCESSES.Barrier(4), PROCESSES.Queue()
        children = [start(work, place, gate, out) for _ in range(4)]
        used = {out.get(timeout=60) for _ in children}
        for child in children:
            child.join(60)
        held = KeyStore(place).load(PLAN, BACKEND)
        assert held is not None
        assert used == {(held[1].key_id, held[1].key_id)}


def test_a_kill_at_any_moment_leaves_a_good_pair_or_none(tmp_path: Path) -> None:
    def work(place: Path, ready: Any) -> None:
        ready.set()
        for index in range(10_000):
            KeyStore(place).save(f"{index:08d}", BACKEND, *fresh(300_000))

    found = set()
    for index in range(8):
        place, ready = tmp_path / str(index), PROCESSES.Event()
        child = start(work, place, ready)
        ready.wait(60)
        time.sleep(random.uniform(0.0, 0.1))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join(60)
        store, plans = KeyStore(place), [f"{index:08d}" for index in range(10_000)]
        held = [store.load(plan, BACKEND) is not None for plan in plans[:200]]
        count = sum(held)
        assert held[:count] == [True] * count  # in order, each whole; the last one or none of it
        assert not list(place.glob(".key-*"))
        assert store.save(plans[count], BACKEND, *(own := fresh())) == own  # no lock is left
        for path in place.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        found.add(count > 0)
    assert True in found


def test_the_unfinished_of_the_living_stay_those_of_the_dead_go(tmp_path: Path) -> None:
    def work(place: Path, ready: Any, go: Any) -> None:
        def slowly(_: int) -> None:
            ready.set()
            go.wait(60)

        os.fsync = slowly  # type: ignore[assignment]  # of this child only
        KeyStore(place).save(PLAN, BACKEND, *fresh())

    ready, go = PROCESSES.Event(), PROCESSES.Event()
    child = start(work, tmp_path, ready, go)
    ready.wait(60)
    store = KeyStore(tmp_path)
    assert store.load(PLAN, BACKEND) is None  # and sweeps nothing
    assert len(list(tmp_path.glob(".key-*"))) == 1
    go.set()
    child.join(60)
    assert store.load(PLAN, BACKEND) is not None
    (tmp_path / ".key-old").write_bytes(b"as earlier versions left them")
    assert store.load(PLAN, BACKEND) is not None
    assert not list(tmp_path.glob(".key-*"))


def test_without_a_lock_the_first_pair_wins_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never:
        is_locked = False

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def acquire(self) -> None:
            raise NotImplementedError("no locks on this file system")

        def release(self) -> None:
            pass

    looked = iter([False, False])  # both saves look before there is anything

    def lexists(path: Path) -> bool:
        return next(looked, True)

    monkeypatch.setattr("thex_hf.protocol.keys.FileLock", Never)
    monkeypatch.setattr("os.path.lexists", lexists)
    store, first = KeyStore(tmp_path), fresh()
    assert store.save(PLAN, BACKEND, *first) == first
    assert store.save(PLAN, BACKEND, *fresh())[1] == first[1]
    assert [path.name for path in tmp_path.iterdir()] == [f"pair.{PLAN[:8]}"]
