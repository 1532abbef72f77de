"""Request threads: no more calls at once than allowed, and nobody waits long or leaves a trace."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from gateway.api.threads import RequestThreads
from gateway.problems import Overloaded
from tests.gateway.waits import until

PATIENT_S, IMPATIENT_S = 10.0, 0.1


class Blocking:
    """Calls that last until they are let go, and how many there are at once."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.running = self.most = self.ended = 0
        self._lock = threading.Lock()

    def call(self) -> int:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.let_go.wait(timeout=10)
        with self._lock:
            self.running -= 1
            self.ended += 1
        return self.ended


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    made = Blocking()
    yield made
    made.let_go.set()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, timeout=15))


async def eventually(so: Callable[[], bool]) -> None:
    """As a test's own thread waits, off the event loop."""
    await asyncio.to_thread(until, so)


async def begun(blocking: Blocking, count: int) -> None:
    await eventually(lambda: blocking.running == count)


def test_a_call_gets_its_arguments_and_answers() -> None:
    async def scenario() -> None:
        threads = RequestThreads(1, PATIENT_S)
        assert await threads.run(max, 2, 7) == 7
        assert await threads.run(sorted, [1, 2], reverse=True) == [2, 1]

    run(scenario())


def test_what_a_call_raises_comes_through_and_frees_its_thread() -> None:
    async def scenario() -> None:
        threads = RequestThreads(1, IMPATIENT_S)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await threads.run(divmod, 1, 0)

    run(scenario())


def test_no_more_run_at_once_than_allowed_and_the_others_have_their_turn(
    blocking: Blocking,
) -> None:
    async def scenario() -> None:
        threads = RequestThreads(2, PATIENT_S)
        calls = [asyncio.create_task(threads.run(blocking.call)) for _ in range(7)]
        await begun(blocking, 2)
        await asyncio.sleep(0.05)
        blocking.let_go.set()
        assert sorted(await asyncio.gather(*calls)) == [1, 2, 3, 4, 5, 6, 7]
        assert blocking.most == 2

    run(scenario())


def test_who_waited_too_long_is_refused_and_what_began_is_not_given_up(
    blocking: Blocking,
) -> None:
    async def scenario() -> None:
        threads = RequestThreads(1, IMPATIENT_S)
        first = asyncio.create_task(threads.run(blocking.call))
        await begun(blocking, 1)
        started_s = time.monotonic()
        outcomes = await asyncio.gather(
            *(threads.run(blocking.call) for _ in range(5)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [Overloaded] * 5
        assert IMPATIENT_S * 0.9 < time.monotonic() - started_s < 3
        assert not first.done()
        blocking.let_go.set()
        assert await first == 1
        assert blocking.ended == 1  # what was refused never ran

    run(scenario())


def test_who_stops_waiting_for_a_turn_leaves_nothing_behind(blocking: Blocking) -> None:
    async def scenario() -> None:
        threads = RequestThreads(1, PATIENT_S)
        first = asyncio.create_task(threads.run(blocking.call))
        await begun(blocking, 1)
        waiting = [asyncio.create_task(threads.run(blocking.call)) for _ in range(5)]
        last = asyncio.create_task(threads.run(blocking.call))
        await asyncio.sleep(0.02)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        blocking.let_go.set()
        assert list(await asyncio.gather(first, last)) == [1, 2]
        assert await threads.run(blocking.call) == 3

    run(scenario())


@pytest.mark.parametrize("fails", [False, True])
def test_a_call_whose_caller_left_keeps_its_turn_until_it_ends(
    blocking: Blocking, fails: bool
) -> None:
    """Goes red where a turn is free while its thread is not: the next would wait unheard."""

    def call() -> None:
        blocking.call()
        if fails:
            raise ZeroDivisionError

    async def scenario() -> None:
        threads = RequestThreads(1, IMPATIENT_S)
        left = asyncio.create_task(threads.run(call))
        await begun(blocking, 1)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        with pytest.raises(Overloaded):
            await threads.run(blocking.call)
        blocking.let_go.set()
        await eventually(lambda: blocking.ended == 1)
        assert await threads.run(blocking.call) == 2

    run(scenario())
