"""Lifecycle: one stop ends every wait, and retries go on until it comes."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from runtime.backoff import Backoff
from runtime.errors import Permanent, StorageFull, Unavailable
from runtime.lifecycle import HANG_LIMIT_S, Lifecycle, Pulse, Stopped

NO_WAIT = Backoff(0.0, 0.0)
AN_HOUR_S = 3_600.0
SOON_S = 5.0


@pytest.fixture
def handlers_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_retries_what_may_succeed_and_returns_the_answer() -> None:
    failures = iter([Unavailable("a"), StorageFull("b"), None])

    def call() -> str:
        failure = next(failures)
        if failure:
            raise failure
        return "answer"

    assert Lifecycle().until_success("try", call, NO_WAIT) == "answer"


def test_waits_longer_after_each_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle = Lifecycle()
    waited: list[float] = []
    monkeypatch.setattr(lifecycle, "sleep", waited.append)
    outcomes = iter([False, False, False, True])

    def call() -> None:
        if not next(outcomes):
            raise Unavailable("away")

    lifecycle.until_success("try", call, Backoff(1.0, 60.0, lambda: 1.0))
    assert waited == [1.0, 2.0, 4.0]


def test_does_not_retry_what_cannot_succeed() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise Permanent("no", "Never.")

    with pytest.raises(Permanent):
        Lifecycle().until_success("try", call, NO_WAIT)
    assert len(calls) == 1


def test_a_stop_ends_the_retries() -> None:
    lifecycle = Lifecycle()

    def call() -> None:
        lifecycle.stop()
        raise Unavailable("away")

    with pytest.raises(Stopped):
        lifecycle.until_success("try", call, Backoff(AN_HOUR_S, AN_HOUR_S))
    with pytest.raises(Stopped):
        lifecycle.until_success("not even once", lambda: pytest.fail("was called"), NO_WAIT)


def test_a_stop_ends_a_sleep() -> None:
    lifecycle = Lifecycle()
    sleeper = threading.Thread(target=lifecycle.sleep, args=(AN_HOUR_S,), daemon=True)
    sleeper.start()
    lifecycle.stop()
    sleeper.join(SOON_S)
    assert not sleeper.is_alive()


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_loop_that_hangs_does_not_beat_until_it_goes_on() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    clock.now_s += HANG_LIMIT_S
    assert pulse.is_beating(), "the start counts as a beat"
    pulse.beat()
    clock.now_s += HANG_LIMIT_S
    assert pulse.is_beating()
    clock.now_s += 0.1
    assert not pulse.is_beating()
    pulse.beat()
    assert pulse.is_beating()


def test_a_pulse_may_have_a_limit_of_its_own() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    clock.now_s += 2.0
    assert pulse.is_beating(limit_s=2.0)
    assert not pulse.is_beating(limit_s=1.0)


def test_who_waits_for_a_dependency_still_beats() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    attempts = iter(range(10))

    def call() -> None:
        assert pulse.is_beating()
        clock.now_s += HANG_LIMIT_S + 1
        if next(attempts) < 3:
            raise Unavailable("away")

    Lifecycle().until_success("try", call, NO_WAIT, pulse)
    assert not pulse.is_beating(), "nor does it beat for what comes after"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop(number: signal.Signals, handlers_restored: None) -> None:
    lifecycle = Lifecycle()
    lifecycle.install_signal_handlers()
    assert not lifecycle.stopping
    os.kill(os.getpid(), number)
    started_s = time.monotonic()
    lifecycle.sleep(SOON_S)
    assert lifecycle.stopping
    assert time.monotonic() - started_s < SOON_S
