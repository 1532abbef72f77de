"""How long work on a batch may go on: until its partitions move away or the process stops."""

import threading

from runtime.lifecycle import Lifecycle, Stopped


class Lease:
    """Held by the batches of one assignment; whoever would wait asks it first."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._ended = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether the answers are no longer wanted; a stop alone leaves a grace to finish in."""
        return self._ended.is_set()

    def end(self) -> None:
        self._ended.set()

    def sleep(self, seconds: float, action: str) -> None:
        """Raises Stopped, at once where nothing is left to wait for."""
        self.check(action)
        self._lifecycle.sleep(seconds)
        self.check(action)
        if self._lifecycle.stopping:
            raise Stopped(action)

    def check(self, action: str) -> None:
        """Raises Stopped once the lease is over."""
        if self.is_over:
            raise Stopped(action)
