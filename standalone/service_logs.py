"""Log files of the children go in: they stay bounded, and our warnings reach the console."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

LARGEST_BYTES = 20_000_000
LINES_AT_ONCE = 3
OLDER = ".1"

_WORTH_SHOWING = re.compile(r"\[(?:warning|error|critical)\s*\]")


def bound(log: Path, largest_bytes: int = LARGEST_BYTES) -> None:
    """Move what a log holds to `<log>.1` once it is too large; its writer goes on in the emptied
    file, as it was opened for appending."""
    if log.exists() and log.stat().st_size > largest_bytes:
        shutil.copyfile(log, log.with_name(log.name + OLDER))
        with log.open("r+b") as emptied:
            emptied.truncate(0)


class WarningFollower:
    """Reads on where it stopped in one log, and shows what a person should see."""

    def __init__(self, name: str, log: Path, show: Callable[[str], None]) -> None:
        self._name = name
        self._log = log
        self._show = show
        self._offset = log.stat().st_size if log.exists() else 0

    def follow(self) -> None:
        """At most a few lines a call: a service that retries says the same many times."""
        worth_showing = [line for line in self._new_lines() if _WORTH_SHOWING.search(line)]
        for line in worth_showing[:LINES_AT_ONCE]:
            self._show(f"{self._name}: {line}")
        if (left_out := len(worth_showing) - LINES_AT_ONCE) > 0:
            self._show(f"{self._name}: and {left_out} more warnings in {self._log}")

    def _new_lines(self) -> list[str]:
        if not self._log.exists():
            return []
        with self._log.open("rb") as log:
            if log.seek(0, 2) < self._offset:  # it was emptied
                self._offset = 0
            log.seek(self._offset)
            complete, newline, _begun = log.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        return complete.decode(errors="replace").splitlines()
