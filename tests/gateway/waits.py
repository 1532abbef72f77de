"""How tests wait for what happens elsewhere: ask until it is so, or fail."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_INTERVAL_S = 0.02


def until(answer: Callable[[], T], within_s: float = 10.0) -> T:
    """The first truthy answer."""
    give_up_at_s = time.monotonic() + within_s
    while not (found := answer()):
        assert time.monotonic() < give_up_at_s, f"not within {within_s} s: last was {found!r}"
        time.sleep(POLL_INTERVAL_S)
    return found
