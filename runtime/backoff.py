"""Exponential backoff with full jitter: how long to wait before the next try."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Delays double from `base_s` up to `cap_s`; jitter keeps clients from returning in step.

    Full jitter as in Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), but
    never less than half the ceiling, so that a retry is never immediate.
    """

    base_s: float
    cap_s: float
    random_unit: Callable[[], float] = random.random

    def delay_s(self, attempt: int) -> float:
        """The wait after failed attempt number `attempt`, counted from 1."""
        exponent = min(attempt - 1, 32)
        ceiling_s = min(self.cap_s, self.base_s * 2.0**exponent)
        return round(ceiling_s * (0.5 + 0.5 * self.random_unit()), 3)
