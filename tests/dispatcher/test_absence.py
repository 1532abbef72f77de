"""A version is gone once it was asked for in vain for its grace, without a pause as long."""

import threading

import pytest

from dispatcher.absence import Absences, ModelGone

GRACE_S = 30.0
ONE, TWO = ("clip_vit", "1"), ("clip_vit", "2")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def absences(clock: Clock) -> Absences:
    return Absences(GRACE_S, clock)


def is_gone(absences: Absences, version: tuple[str, str] = ONE) -> bool:
    try:
        absences.note(version)
    except ModelGone as exc:
        assert exc.reason == "model_gone"
        return True
    return False


@pytest.mark.parametrize(
    ("moments_s", "expected"),
    [
        ([0], [False]),
        ([0, 29.9], [False, False]),
        ([0, 30], [False, True]),
        ([0, 15, 30, 31], [False, False, True, True]),
        ([0, 31], [False, False]),  # nobody asked meanwhile: it may have come and gone
        ([0, 30, 61, 91], [False, True, False, True]),
    ],
)
def test_the_grace_runs_while_it_is_asked_for(
    absences: Absences, clock: Clock, moments_s: list[float], expected: list[bool]
) -> None:
    seen = []
    for moment_s in moments_s:
        clock.now_s = 100.0 + moment_s
        seen.append(is_gone(absences))
    assert seen == expected


def test_each_version_has_its_own(absences: Absences, clock: Clock) -> None:
    assert not is_gone(absences, ONE)
    clock.now_s += GRACE_S
    assert not is_gone(absences, TWO)
    assert is_gone(absences, ONE)


def test_an_answer_ends_the_absence(absences: Absences, clock: Clock) -> None:
    absences.end(ONE)
    assert not is_gone(absences)
    absences.end(ONE)
    clock.now_s += GRACE_S
    assert not is_gone(absences)


def test_many_threads_may_ask(absences: Absences, clock: Clock) -> None:
    gone: list[bool] = []

    def ask() -> None:
        for _ in range(200):
            gone.append(is_gone(absences))
            absences.end(TWO)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert gone == [False] * 800
