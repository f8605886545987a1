"""Owners take turns, and none holds more than is left for the others."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thex_hf.errors import BusyError
from thex_hf.protocol.server import ServerRun
from thex_hf.serving.fairness import ANYONE, FairLock, share_exhausted
from thex_hf.serving.runs import RunName, Runs


@given(st.integers(2, 40), st.lists(st.sampled_from("abc"), max_size=200))
def test_a_newcomer_finds_a_place_whatever_three_others_ask_for(most, asked):
    held = dict.fromkeys("abc", 0)
    for owner in asked:
        if not share_exhausted(owner, held[owner], sum(held.values()), most):
            held[owner] += 1
    assert sum(held.values()) <= most
    if most >= 8:
        assert not share_exhausted("new", 0, sum(held.values()), most)


def test_who_stands_for_all_may_hold_all():
    assert not share_exhausted(ANYONE, 7, 7, 8)
    assert share_exhausted(ANYONE, 8, 8, 8)
    assert [share_exhausted("ann", own, own, 8) for own in (3, 4)] == [False, True]


def test_owners_take_turns():
    done = []

    async def work(lock, owner, number):
        async with lock.hold(owner):
            await asyncio.sleep(0)
            done.append((owner, number))

    async def test():
        lock = FairLock()
        jobs = [("bob", number) for number in range(6)] + [("ann", 0), ("ann", 1), ("eve", 0)]
        tasks = [asyncio.create_task(work(lock, *one)) for one in jobs]
        await asyncio.sleep(0)
        tasks[3].cancel()  # one that waits goes away
        await asyncio.gather(*tasks, return_exceptions=True)
        assert lock.free

    asyncio.run(test())
    assert [owner for owner, _ in done] == ["bob", "bob", "ann", "eve", "bob", "ann", "bob", "bob"]
    assert [number for owner, number in done if owner == "bob"] == [0, 1, 2, 4, 5]


def test_a_turn_is_passed_on_after_an_error():
    async def test():
        lock = FairLock()
        with pytest.raises(ValueError, match="here"):
            async with lock.hold("ann"):
                raise ValueError("here")
        async with lock.hold("bob"):
            assert not lock.free
        assert lock.free

    asyncio.run(test())


def test_one_owners_runs_leave_room_for_others():
    runs = Runs(most=8, most_of_keys=8)
    run = object.__new__(ServerRun)
    for number in range(4):
        runs.put(RunName("bob", f"{number}", "0" * 32), run)
    with pytest.raises(BusyError, match="4 runs are in progress"):
        runs.check_room(RunName("bob", "9", "0" * 32))
    runs.check_room(RunName("ann", "1", "0" * 32))


def test_a_run_that_was_quiet_for_long_gives_way_to_a_new_one_of_its_owner():
    seconds = [0.0]
    runs = Runs(most=8, most_of_keys=2, quiet_seconds=60.0, clock=lambda: seconds[0])
    run = object.__new__(ServerRun)
    first, second, third = (RunName("ann", "1", digit * 32) for digit in "123")
    runs.put(first, run)
    seconds[0] = 30.0
    runs.put(second, run)
    with pytest.raises(BusyError, match="2 of them under these keys"):
        runs.put(third, run)
    seconds[0] = 65.0
    runs.put(third, run)
    assert first not in runs
    assert second in runs
    assert third in runs
    with pytest.raises(BusyError):
        runs.put(RunName("ann", "1", "4" * 32), run)


def test_no_owners_quiet_run_gives_way_to_anothers():
    seconds = [0.0]
    runs = Runs(most=2, most_of_keys=2, quiet_seconds=60.0, clock=lambda: seconds[0])
    run = object.__new__(ServerRun)
    for digit in "12":
        runs.put(RunName(ANYONE, "1", digit * 32), run)
    seconds[0] = 65.0
    with pytest.raises(BusyError):
        runs.check_room(RunName("bob", "2", "0" * 32))
    assert len(runs) == 2
