"""The wait before a restart: doubling, bounded, and forgetting after a long life."""

import pytest

from standalone.processes.restarts import RestartBackoff


@pytest.mark.parametrize(
    ("lives_s", "delays_s"),
    [
        ([0], [0.2]),
        ([0] * 7, [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]),
        ([0, 0, 29.9, 0], [0.2, 0.4, 0.8, 1.6]),
        ([0, 0, 30.0, 0], [0.2, 0.4, 0.2, 0.4]),
        ([0] * 6 + [31.0, 0], [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 0.2, 0.4]),
    ],
)
def test_delay_follows_the_lives(lives_s: list[float], delays_s: list[float]) -> None:
    backoff = RestartBackoff()
    assert [backoff.delay_s(lived_s) for lived_s in lives_s] == pytest.approx(delays_s)


def test_delay_stays_bounded_after_very_many_deaths() -> None:
    backoff = RestartBackoff()
    assert max(backoff.delay_s(0) for _ in range(5000)) == 5.0
