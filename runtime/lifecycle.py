"""How a process waits, shows that it lives and ends: loops watch one stop signal and beat."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import structlog

from runtime.backoff import Backoff
from runtime.errors import Retryable

T = TypeVar("T")
log = structlog.get_logger(__name__)

HANG_LIMIT_S = 60.0


class Stopped(Exception):
    """The process was asked to stop while it waited."""


class Pulse:
    """One loop's sign of life; a loop that hangs stops beating. One each: beats do not add up."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._last_s = clock_s()

    def beat(self) -> None:
        """Say so once a turn, from any thread."""
        self._last_s = self._clock_s()

    def is_beating(self, limit_s: float = HANG_LIMIT_S) -> bool:
        """Whether the last beat, or the start, is no more than `limit_s` ago."""
        return self._clock_s() - self._last_s <= limit_s


class Lifecycle:
    """Set once by SIGTERM or SIGINT; loops ask `stopping`, waits end early."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def install_signal_handlers(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    def sleep(self, seconds: float) -> None:
        """Wait, or return at once when the process stops."""
        self._stop.wait(seconds)

    def until_success(
        self, action: str, call: Callable[[], T], backoff: Backoff, pulse: Pulse | None = None
    ) -> T:
        """Repeat `call` while it raises Retryable; raises Stopped when the process stops.

        Beats `pulse` before each attempt: who waits for a dependency does not hang.
        """
        attempt = 0
        while not self.stopping:
            if pulse is not None:
                pulse.beat()
            try:
                return call()
            except Retryable as exc:
                attempt += 1
                delay_s = backoff.delay_s(attempt)
                log.warning(
                    "will retry",
                    action=action,
                    attempt=attempt,
                    error=str(exc),
                    delay_s=delay_s,
                )
                self.sleep(delay_s)
        raise Stopped(action)
