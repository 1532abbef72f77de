"""Waiting: woken before, during or never; nothing is left behind, and nobody spins."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.waiting import Waiting

LONG_S, SHORT_S = 5.0, 0.05


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, timeout=10))


def attached(limit: int = 10) -> Waiting:
    waiting = Waiting(limit)
    waiting.attach()
    return waiting


async def took_s(awaitable: Coroutine[Any, Any, None]) -> float:
    started_s = time.monotonic()
    await awaitable
    return time.monotonic() - started_s


def test_a_wake_up_before_the_wait_is_not_lost() -> None:
    async def scenario() -> None:
        waiting = attached()
        async with waiting.expect(1) as expectation:
            waiting.wake([1])
            assert await took_s(expectation.wait(LONG_S)) < 1

    run(scenario())


def test_a_wake_up_from_another_thread_ends_the_wait() -> None:
    async def scenario() -> None:
        waiting = attached()
        async with waiting.expect(7) as expectation:
            threading.Timer(SHORT_S, waiting.wake, [[3, 7]]).start()
            assert SHORT_S / 2 < await took_s(expectation.wait(LONG_S)) < 1

    run(scenario())


def test_only_those_who_wait_for_it_are_woken() -> None:
    async def scenario() -> None:
        waiting = attached()
        async with waiting.expect(1) as one, waiting.expect(1) as same, waiting.expect(2) as other:
            waiting.wake([1])
            await asyncio.gather(one.wait(LONG_S), same.wait(LONG_S))
            assert await took_s(other.wait(SHORT_S)) >= SHORT_S * 0.9

    run(scenario())


def test_a_wait_without_news_ends_in_time() -> None:
    async def scenario() -> None:
        async with attached().expect(1) as expectation:
            assert SHORT_S * 0.9 < await took_s(expectation.wait(SHORT_S)) < 1

    run(scenario())


def test_one_wake_up_ends_one_wait() -> None:
    """Who was woken and still sees an old state waits again instead of asking without pause."""

    async def scenario() -> None:
        waiting = attached()
        async with waiting.expect(1) as expectation:
            waiting.wake([1])
            await expectation.wait(LONG_S)
            assert await took_s(expectation.wait(SHORT_S)) >= SHORT_S * 0.9
            waiting.wake([1])
            assert await took_s(expectation.wait(LONG_S)) < 1

    run(scenario())


def test_nothing_is_left_behind() -> None:
    async def scenario() -> None:
        waiting = attached(limit=2)

        async def wait(image_id: int, timeout_s: float) -> None:
            async with waiting.expect(image_id) as expectation:
                await expectation.wait(timeout_s)

        tasks = [asyncio.create_task(wait(number, LONG_S)) for number in (1, 1, 2)]
        await asyncio.sleep(0)
        assert waiting.is_full
        tasks[0].cancel()
        waiting.wake([2])
        await asyncio.gather(wait(3, SHORT_S), tasks[2])
        waiting.wake([1, 99])
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not waiting._futures
        assert not waiting.is_full

    run(scenario())


@pytest.mark.parametrize(("limit", "full"), [(0, True), (1, True), (2, False)])
def test_it_says_when_it_holds_as_many_as_it_may(limit: int, full: bool) -> None:
    async def scenario() -> None:
        waiting = attached(limit)
        async with waiting.expect(1):
            assert waiting.is_full is full

    run(scenario())


def test_released_it_lets_all_go_and_holds_nobody() -> None:
    async def scenario() -> None:
        waiting = attached()
        async with waiting.expect(1) as one, waiting.expect(2) as two:
            waiting.release()
            await asyncio.gather(one.wait(LONG_S), two.wait(LONG_S))
            assert waiting.is_full

    run(scenario())


def test_a_wake_up_without_a_loop_is_harmless() -> None:
    waiting = Waiting(1)
    waiting.wake([1])

    async def attach() -> None:
        waiting.attach()

    asyncio.run(attach())
    waiting.wake([1])
