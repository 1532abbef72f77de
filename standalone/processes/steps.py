"""Commands that run once to their end before something can start: initdb, migrations, downloads."""

import threading
import time
from pathlib import Path

from standalone.processes.child import Child, how_it_ended
from standalone.processes.command import Command

POLL_INTERVAL_S = 0.02


class StartError(Exception):
    """Something cannot start. The message says what; `log_lines` are its last words."""

    def __init__(self, message: str, log_lines: list[str] | None = None) -> None:
        super().__init__(message)
        self.log_lines = log_lines or []


class Steps:
    """Runs commands to their end, from any thread; `cancel` ends them all."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._cancelled = threading.Event()
        self._running: list[Child] = []

    def run(self, command: Command, timeout_s: float) -> None:
        """Raises StartError when it fails, takes longer than `timeout_s`, or is cancelled."""
        child = Child(command, self._data_dir)
        self._running.append(child)
        try:
            code = self._ended(child, timeout_s)
        finally:
            child.kill()
            self._running.remove(child)
        if self._cancelled.is_set():
            raise StartError(f"{command.name} was cancelled")
        if code is None:
            raise StartError(f"{command.name} took over {timeout_s:.0f} s", child.last_lines())
        if code != 0:
            message = f"{command.name} failed ({how_it_ended(code)}), see {command.log_path}"
            raise StartError(message, child.last_lines())

    def _ended(self, child: Child, timeout_s: float) -> int | None:
        deadline = time.monotonic() + timeout_s
        while (code := child.exit_code()) is None:
            if self._cancelled.is_set() or time.monotonic() > deadline:
                return None
            time.sleep(POLL_INTERVAL_S)
        return code

    def now(self) -> list[str]:
        """What runs at the moment; a step's last line of output is in brackets behind its name."""
        return [_described(child) for child in list(self._running)]

    def cancel(self) -> None:
        self._cancelled.set()


def _described(child: Child) -> str:
    name = child.command.name
    lines = child.last_lines()
    return f"{name} ({' '.join(lines[-1].split())})" if lines else name
