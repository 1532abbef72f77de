"""The breaker opens after failures in a row, and lets one caller at a time find out more."""

import contextlib
import threading
from collections.abc import Callable

import pytest

from dispatcher.breaker import BreakerOpen, CircuitBreaker, State
from runtime.backoff import Backoff
from runtime.errors import Permanent, Unavailable

FAILURES = 3
OPEN_S = 1.0
CAP_S = 4.0


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def states() -> list[State]:
    return []


@pytest.fixture
def breaker(clock: Clock, states: list[State]) -> CircuitBreaker:
    return CircuitBreaker(FAILURES, Backoff(OPEN_S, CAP_S, lambda: 1.0), states.append, clock)


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Unavailable) as failure:
            breaker.call(raising(Unavailable("down")))
        assert not isinstance(failure.value, BreakerOpen)


def raising(exc: BaseException) -> Callable[[], str]:
    def request() -> str:
        raise exc

    return request


def is_refused(breaker: CircuitBreaker) -> bool:
    try:
        return breaker.call(lambda: "asked") != "asked"
    except BreakerOpen:
        return True


def test_opens_after_failures_in_a_row(breaker: CircuitBreaker, states: list[State]) -> None:
    fail(breaker, FAILURES - 1)
    assert breaker.state is State.CLOSED
    fail(breaker)
    assert states == [State.OPEN]
    assert is_refused(breaker)


def test_a_success_between_them_starts_the_count_anew(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        fail(breaker, FAILURES - 1)
        assert breaker.call(lambda: "answer") == "answer"
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("refusal", [Permanent("no", "No."), ValueError("ours")])
def test_a_refusal_shows_that_the_other_side_lives(
    breaker: CircuitBreaker, refusal: Exception
) -> None:
    for _ in range(5):
        fail(breaker, FAILURES - 1)
        with pytest.raises(type(refusal)):
            breaker.call(raising(refusal))
    assert breaker.state is State.CLOSED


def test_recovers_with_one_success(
    breaker: CircuitBreaker, clock: Clock, states: list[State]
) -> None:
    fail(breaker, FAILURES)
    clock.now_s += OPEN_S - 0.01
    assert is_refused(breaker)
    clock.now_s += 0.01
    assert breaker.call(lambda: "answer") == "answer"
    assert states == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    fail(breaker, FAILURES - 1)
    assert breaker.state is State.CLOSED, "the old failures are forgotten"


@pytest.mark.parametrize("failures", [1, 2, 3, 6])
def test_stays_open_longer_each_time(breaker: CircuitBreaker, clock: Clock, failures: int) -> None:
    fail(breaker, FAILURES)
    for count in range(failures):
        open_s = min(CAP_S, OPEN_S * 2**count)
        clock.now_s += open_s - 0.01
        assert is_refused(breaker)
        clock.now_s += 0.01
        fail(breaker)


def test_half_open_lets_one_caller_through(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now_s += OPEN_S
    asked, answer = threading.Event(), threading.Event()

    def slow() -> str:
        asked.set()
        assert answer.wait(10)
        return "answer"

    trial = threading.Thread(target=breaker.call, args=(slow,))
    trial.start()
    assert asked.wait(10)
    clock.now_s += 100
    assert breaker.state is State.HALF_OPEN
    assert is_refused(breaker)
    answer.set()
    trial.join(10)
    assert not is_refused(breaker)


def test_failures_of_many_threads_open_it_once(
    breaker: CircuitBreaker, clock: Clock, states: list[State]
) -> None:
    """Requests that were under way when it opened do not keep it open for longer each."""
    barrier = threading.Barrier(20)

    def request() -> str:
        barrier.wait(10)
        raise Unavailable("down")

    def call() -> None:
        with pytest.raises(Unavailable):
            breaker.call(request)

    callers = [threading.Thread(target=call) for _ in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert states == [State.OPEN]
    clock.now_s += OPEN_S
    assert not is_refused(breaker)


class Slow:
    """A request under way in a thread of its own, until it is told how it ends."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._asked, self._answered = threading.Event(), threading.Event()
        self._outcome: Exception | None = None
        self._thread = threading.Thread(target=self._call)
        self._thread.start()
        assert self._asked.wait(10)

    def end(self, outcome: Exception | None = None) -> None:
        self._outcome = outcome
        self._answered.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _call(self) -> None:
        with contextlib.suppress(Unavailable):
            self._breaker.call(self._request)

    def _request(self) -> None:
        self._asked.set()
        assert self._answered.wait(10)
        if self._outcome is not None:
            raise self._outcome


def test_a_late_success_of_before_does_not_close_it(
    breaker: CircuitBreaker, states: list[State]
) -> None:
    early = Slow(breaker)
    fail(breaker, FAILURES)
    early.end()
    assert states == [State.OPEN]
    assert is_refused(breaker)


@pytest.mark.parametrize("outcome", [None, Unavailable("down")], ids=["success", "failure"])
def test_what_was_asked_before_does_not_decide_for_the_trial(
    breaker: CircuitBreaker, clock: Clock, states: list[State], outcome: Exception | None
) -> None:
    early = Slow(breaker)
    fail(breaker, FAILURES)
    clock.now_s += OPEN_S
    trial = Slow(breaker)
    early.end(outcome)
    assert breaker.state is State.HALF_OPEN
    trial.end()
    assert states == [State.OPEN, State.HALF_OPEN, State.CLOSED]
