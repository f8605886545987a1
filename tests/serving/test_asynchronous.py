"""The client of programs with an event loop: real workers, the clear engine."""

import asyncio
import threading

import pytest

from thex_hf.client.asynchronous import AsyncThexClient
from thex_hf.client.client import Answer
from thex_hf.errors import InputError, OptionError

TEXTS = ("A warm film.", "Dull and far too long.", "Fine, fine.")


def test_texts_of_many_tasks_are_those_of_the_plain_client(half, transport, client):
    plain = client()
    expected = [plain.classify(text).label for text in TEXTS]

    async def work():
        there = await AsyncThexClient.open(half, transport(), backend="clear", at_once=2)
        answers = await asyncio.gather(*map(there.classify, TEXTS))
        return answers, await there.classify_many(TEXTS)

    for answers in asyncio.run(work()):
        assert [answer.label for answer in answers] == expected


def test_the_loop_goes_on_meanwhile_and_no_more_than_asked_are_under_way(half, transport):
    carried, under_way, most, ticks = transport(), 0, 0, 0
    lock = threading.Lock()
    usual = carried.answer

    def answer(data, keys, run):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        try:
            return usual(data, keys, run)
        finally:
            with lock:
                under_way -= 1

    carried.answer = answer

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def work():
        there = await AsyncThexClient.open(half, carried, backend="clear", at_once=2)
        ticking = asyncio.create_task(tick())
        answers = await asyncio.gather(*map(there.classify, 2 * TEXTS))
        ticking.cancel()
        return answers

    assert all(isinstance(answer, Answer) for answer in asyncio.run(work()))
    assert 1 <= most <= 2
    assert ticks > len(TEXTS)


def test_as_many_as_asked_are_under_way_however_few_cores_there_are(half, transport):
    carried, count = transport(), 7
    usual, meeting, left = carried.answer, threading.Barrier(count), iter(range(count))

    def answer(data, keys, run):
        if next(left, None) is not None:  # the first message of each: all are there, or none goes
            meeting.wait(30)
        return usual(data, keys, run)

    async def work():
        there = await AsyncThexClient.open(half, carried, backend="clear", at_once=count)
        await there.classify(TEXTS[0])  # keys
        carried.answer = answer
        return await asyncio.gather(*(there.classify(TEXTS[1]) for _ in range(count)))

    assert len({answer.label for answer in asyncio.run(work())}) == 1


def test_a_cancelled_text_is_given_up_at_its_next_message(half, transport):
    carried = transport()
    usual, given_up, sent = carried.answer, threading.Event(), 0
    asked, go_on = threading.Event(), threading.Event()

    def answer(data, keys, run):
        nonlocal sent
        sent += 1
        reply = usual(data, keys, run)
        if sent == 2:  # a visit, of six
            asked.set()
            assert go_on.wait(30)
        return reply

    def give_up(keys, run):
        type(carried).give_up(carried, keys, run)
        given_up.set()

    carried.answer, carried.give_up = answer, give_up

    async def work():
        there = await AsyncThexClient.open(half, carried, backend="clear")
        task = asyncio.create_task(there.classify(TEXTS[0]))
        await asyncio.to_thread(asked.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert await asyncio.to_thread(given_up.wait, 30)
        assert sent == 2
        return await there.classify(TEXTS[1])  # the client is as good as before

    assert asyncio.run(work()).label


def test_errors_are_those_of_the_plain_client(half, transport):
    async def empty():
        there = await AsyncThexClient.open(half, transport(), backend="clear")
        await there.classify("")

    with pytest.raises(InputError, match="empty"):
        asyncio.run(empty())
    with pytest.raises(OptionError, match="at_once"):
        asyncio.run(AsyncThexClient.open(half, transport(), backend="clear", at_once=0))
