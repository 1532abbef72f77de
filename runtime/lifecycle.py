"""How a process waits and ends: one stop signal that every loop watches."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import structlog

from runtime.backoff import Backoff
from runtime.errors import Retryable

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The process was asked to stop while it waited."""


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

    def until_success(self, action: str, call: Callable[[], T], backoff: Backoff) -> T:
        """Repeat `call` while it raises Retryable; raises Stopped when the process stops."""
        attempt = 0
        while not self.stopping:
            try:
                return call()
            except Retryable as exc:
                attempt += 1
                delay_s = backoff.delay_s(attempt)
                log.warning(
                    "will retry", action=action, attempt=attempt, error=str(exc), delay_s=delay_s
                )
                self.sleep(delay_s)
        raise Stopped(action)
