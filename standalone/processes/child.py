"""One operating-system process of ours and its group: started, watched, and never left over."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from standalone.processes.command import Command

MARKER = "STANDALONE_CHILD_OF"
"""Every child carries this variable, so that what a killed supervisor left can be recognised."""

POLL_INTERVAL_S = 0.02
KILLED_WITHIN_S = 10.0
TAIL_LINES = 15
TAIL_BYTES = 16_384

_LAUNCHER = Path(__file__).with_name("launcher.py")


class Child:
    """A running command in a session of its own. The thread that makes it must outlive it:
    the kernel ends the child with the thread that started it."""

    def __init__(self, command: Command, data_dir: Path) -> None:
        self.command = command
        command.log_path.parent.mkdir(parents=True, exist_ok=True)
        with command.log_path.open("ab") as log:
            self._log_starts_at = log.tell()
            self._process = subprocess.Popen(
                _launched(command),
                stdin=subprocess.PIPE if command.stdin_text else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=command.working_directory,
                env=_environment(command, data_dir),
                start_new_session=True,
            )
        if self._process.stdin:
            with self._process.stdin as stdin:
                stdin.write(command.stdin_text.encode())

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; below zero when a signal ended it. Its group does not outlive it."""
        if self._process.returncode is None and self._has_ended():
            self._signal_group(signal.SIGKILL)  # before its number is free to be used again
            self._process.wait()
        return self._process.returncode

    def request_stop(self, stop_signal: signal.Signals) -> None:
        if self.exit_code() is None:
            self._process.send_signal(stop_signal)

    def kill(self) -> None:
        """End the whole group at once and wait until it is gone."""
        self._signal_group(signal.SIGKILL)
        self.wait(KILLED_WITHIN_S)

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None when it still runs after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while (code := self.exit_code()) is None and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
        return code

    def last_lines(self) -> list[str]:
        """The end of what this child, not one before it, has written."""
        try:
            with self.command.log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                starts_at = self._log_starts_at if self._log_starts_at <= size else 0
                log.seek(max(starts_at, size - TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-TAIL_LINES:]

    def _has_ended(self) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT  # look, and leave it unreaped
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                self._process.send_signal(number)  # it has not yet become a group of its own


def how_it_ended(exit_code: int) -> str:
    """In words, for the console."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def _environment(command: Command, data_dir: Path) -> dict[str, str]:
    inherited = os.environ if command.inherits_environment else {}
    return {**inherited, **command.environment, MARKER: str(data_dir)}


def _launched(command: Command) -> list[str]:
    user = command.run_as
    options = {
        "parent_pid": os.getpid(),
        "death_signal": command.death_signal,
        "uid": user.uid if user else None,
        "gid": user.gid if user else None,
        "reach_private_folders": bool(user and user.reach_private_folders),
        "borrow_name_of_uid": command.borrow_name_of_uid,
    }
    bare_python = [sys.executable, "-I", "-S"]
    return [*bare_python, str(_LAUNCHER), json.dumps(options), *command.arguments]
