"""One long-running part of the platform: how it is prepared, run, asked, and stopped."""

import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path

from standalone.machine.loopback import Address
from standalone.processes.child import Child, how_it_ended
from standalone.processes.command import Command
from standalone.processes.steps import StartError, Steps

READY_POLL_INTERVAL_S = 0.05


class Part(ABC):
    """A part is described by the four methods below; the rest runs it, alone or supervised.

    `data_dir` is the folder of the whole platform: a part keeps its data in `data_dir / name` and
    its log in `data_dir / "logs"`. A part that was killed can be started again on its data.
    """

    stop_signal = signal.SIGTERM
    stop_grace_s = 15.0
    ready_timeout_s = 60.0

    def __init__(self, name: str, data_dir: Path, address: Address) -> None:
        self.name = name
        self.data_dir = data_dir
        self.address = address
        self._child: Child | None = None

    def prepare(self, steps: Steps) -> None:  # noqa: B027 - most parts need no preparation
        """Bring the data folder to where `command` can run; does nothing when it is there."""

    @abstractmethod
    def command(self) -> Command:
        """The process to run, which does the work itself: no wrapper stays in front of it."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Ask it; answers within a second or two, and False for any failure."""

    @property
    def log_path(self) -> Path:
        return self.data_dir / "logs" / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The process that does the work, None while it is down."""
        return self._child.pid if self._child and self._child.exit_code() is None else None

    def exit_code(self) -> int | None:
        return self._child.exit_code() if self._child else None

    def spawn(self) -> None:
        """Run the command, without waiting. The calling thread must outlive it."""
        self._child = Child(self.command(), self.data_dir)

    def start(self) -> None:
        """Prepare and run, from one thread. Raises StartError."""
        self.prepare(Steps(self.data_dir))
        self.spawn()

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Raises StartError with its last log lines when it dies or stays silent."""
        limit_s = self.ready_timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit_s
        while not self.is_ready():
            if self.pid is None:
                raise StartError(f"{self.name} {self.ending()}", self.last_lines())
            if time.monotonic() > deadline:
                message = f"{self.name} was not ready within {limit_s:.0f} s"
                raise StartError(message, self.last_lines())
            time.sleep(READY_POLL_INTERVAL_S)

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.exit_code()
        return "never ran" if code is None else f"died ({how_it_ended(code)})"

    def last_lines(self) -> list[str]:
        return self._child.last_lines() if self._child else []

    def request_stop(self) -> None:
        if self._child:
            self._child.request_stop(self.stop_signal)

    def stop(self) -> None:
        """Ask it to end, and end it and all its own children when it does not."""
        if self._child:
            self._child.request_stop(self.stop_signal)
            self._child.wait(self.stop_grace_s)
            self._child.kill()

    def kill(self) -> None:
        """As `kill -9` does, its own children included."""
        if self._child:
            self._child.kill()
