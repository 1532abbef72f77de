"""Between two rebalances: what is answered is committable, what is left behind never is."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher import metrics
from dispatcher.assignment import Assignment
from runtime.lifecycle import Lifecycle


@pytest.fixture
def assignment() -> Iterator[Assignment]:
    before = in_flight()
    assignment = Assignment(Lifecycle())
    yield assignment
    assignment.settle(0.0)
    assert in_flight() == before, "the gauge leaks"


def in_flight() -> float:
    return float(metrics.IN_FLIGHT._value.get())


def records(*offsets: int) -> list[Any]:
    return [SimpleNamespace(partition=3, offset=offset) for offset in offsets]


def done(error: Exception | None = None) -> Future[None]:
    batch: Future[None] = Future()
    batch.set_running_or_notify_cancel()
    batch.set_exception(error) if error else batch.set_result(None)
    return batch


def running() -> Future[None]:
    batch: Future[None] = Future()
    batch.set_running_or_notify_cancel()
    return batch


def offsets(assignment: Assignment) -> list[int]:
    return [taken.offset for taken in assignment.committable().values()]


def test_what_is_answered_is_committable_until_it_is_committed(assignment: Assignment) -> None:
    assignment.begin(records(4, 5), done())
    assert assignment.collect() is None
    assert offsets(assignment) == [6]
    assert offsets(assignment) == [6], "that commit failed"
    assignment.committed(assignment.committable())
    assert offsets(assignment) == []


def test_what_broke_is_named_and_not_answered(assignment: Assignment) -> None:
    error = RuntimeError("broken")
    assignment.begin(records(4), done(error))
    assignment.begin(records(5), done())
    assert assignment.collect() is error
    assert offsets(assignment) == []
    assert assignment.batches == []


def test_settling_cancels_what_was_not_begun_and_ends_the_rest(assignment: Assignment) -> None:
    begun: Future[None] = running()
    waiting: Future[None] = Future()
    assignment.begin(records(4), done())
    assignment.begin(records(5), begun)
    assignment.begin(records(6), waiting)
    assignment.settle(0.0)
    assert waiting.cancelled()
    assert assignment.lease.is_over
    assert assignment.batches == []
    begun.set_result(None)
    assert assignment.collect() is None
    assert offsets(assignment) == [5], "a zombie answers nothing"


def test_settling_waits_for_what_runs_and_only_for_that(assignment: Assignment) -> None:
    release = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        assignment.begin(records(4), executor.submit(lambda: (release.wait(10), None)[1]))
        assignment.begin(records(5), executor.submit(lambda: pytest.fail("was begun")))
        threading.Timer(0.05, release.set).start()
        assignment.settle(10.0)
    assert offsets(assignment) == [5]


def test_a_batch_begun_after_the_end_counts_for_nothing(assignment: Assignment) -> None:
    assignment.settle(0.0)
    assignment.begin(records(4), done())
    assert assignment.collect() is None
    assert offsets(assignment) == []
