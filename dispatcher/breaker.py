"""A circuit breaker: stop asking a Triton that is down, and let one caller at a time try again.

closed --failures in a row--> open --time passes--> half-open --success--> closed
                                ^-----------------failure------'
"""

import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

import structlog

from runtime.backoff import Backoff
from runtime.errors import Unavailable

T = TypeVar("T")
log = structlog.get_logger(__name__)


class State(Enum):
    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


_WORDS = {
    State.CLOSED: "breaker closed",
    State.HALF_OPEN: "breaker half open",
    State.OPEN: "breaker open",
}


class BreakerOpen(Unavailable):
    """Nothing was asked: the dependency failed a moment ago."""


class CircuitBreaker:
    """Counts Unavailable only: a request that was refused shows that the other side lives."""

    def __init__(
        self,
        failures: int,
        open_for: Backoff,
        on_change: Callable[[State], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = failures
        self._open_for = open_for
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()
        self._state = State.CLOSED
        self._generation = 0  # of states: a request counts only in the one that admitted it
        self._failures = 0
        self._retry_at_s = 0.0

    @property
    def state(self) -> State:
        return self._state

    def call(self, request: Callable[[], T]) -> T:
        """Raises BreakerOpen without a request while open, else whatever `request` raises."""
        generation = self._admit()
        try:
            answer = request()
        except Unavailable:
            self._failed(generation)
            raise
        except BaseException:
            self._succeeded(generation)
            raise
        self._succeeded(generation)
        return answer

    def _admit(self) -> int:
        with self._lock:
            if self._state is State.CLOSED:
                return self._generation
            if self._state is State.OPEN and self._clock() >= self._retry_at_s:
                self._change(State.HALF_OPEN)
                return self._generation
            raise BreakerOpen("Triton failed a moment ago and is left alone for now")

    def _failed(self, generation: int) -> None:
        with self._lock:
            if generation != self._generation:
                return
            self._failures += 1
            if self._state is State.HALF_OPEN or self._failures >= self._threshold:
                opened = max(1, self._failures - self._threshold + 1)
                self._retry_at_s = self._clock() + self._open_for.delay_s(opened)
                self._change(State.OPEN)

    def _succeeded(self, generation: int) -> None:
        with self._lock:
            if generation != self._generation:
                return
            self._failures = 0
            self._change(State.CLOSED)

    def _change(self, state: State) -> None:
        if state is not self._state:
            log.warning(_WORDS[state], action="breaker")
            self._state = state
            self._generation += 1
            self._on_change(state)
