"""A stop signal goes in; the process ends by a deadline, however stuck what it depends on is."""

import os
import threading
import time
from collections.abc import Callable

import structlog

from runtime.lifecycle import Lifecycle

log = structlog.get_logger(__name__)

# Beyond the drain: noticing the signal, the last commit, leaving the group, closing clients.
CLOSING_S = 8.0
WATCH_INTERVAL_S = 60.0


class StopDeadline:
    """Each step of a stop has its bound; this one holds for all, threads left behind included.

    Ending hard loses nothing: what was not answered or committed is read again.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        within_s: float,
        end: Callable[[int], object] = os._exit,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._lifecycle = lifecycle
        self._within_s = within_s
        self._end = end
        self._sleep = sleep

    def watch(self) -> None:
        """From a daemon thread, which a process that ends in time does not wait for."""
        threading.Thread(target=self.enforce, name="stop-deadline", daemon=True).start()

    def enforce(self) -> None:
        while not self._lifecycle.stopping:
            self._lifecycle.sleep(WATCH_INTERVAL_S)
        self._sleep(self._within_s)
        log.error("stop took too long", action="stop", within_s=self._within_s)
        self._end(0)
