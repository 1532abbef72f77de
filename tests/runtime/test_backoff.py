"""Backoff: delays double up to the cap, with jitter between half and all of it."""

import pytest

from runtime.backoff import Backoff


@pytest.mark.parametrize(
    ("attempt", "ceiling_s"),
    [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (40, 5.0), (10**9, 5.0)],
)
def test_bounds(attempt: int, ceiling_s: float) -> None:
    assert Backoff(0.1, 5.0, lambda: 0.0).delay_s(attempt) == pytest.approx(ceiling_s / 2)
    assert Backoff(0.1, 5.0, lambda: 1.0).delay_s(attempt) == pytest.approx(ceiling_s)


def test_jitter_is_random_and_stays_within_its_bounds() -> None:
    delays = {Backoff(1.0, 8.0).delay_s(2) for _ in range(200)}
    assert len(delays) > 100
    assert all(1.0 <= delay_s <= 2.0 for delay_s in delays)
