"""Log files of the children go in: they stay bounded, and our warnings reach the console."""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

LARGEST_BYTES = 20_000_000
OLDER = ".1"
SAME_AGAIN_AFTER_S = 30.0
SHOWN_CHARACTERS = 200

_WARNING = re.compile(
    r"\[(?P<level>warning|error|critical)\s*\]\s*(?P<event>.*?)\s{2,}.*?\baction=(?P<action>\S+)"
)
"""A line of ours in the readable form; the lines of libraries have no `action`."""


def bound(log: Path, largest_bytes: int = LARGEST_BYTES) -> None:
    """Move what a log holds to `<log>.1` once it is too large; its writer goes on in the emptied
    file, as it was opened for appending."""
    if log.exists() and log.stat().st_size > largest_bytes:
        shutil.copyfile(log, log.with_name(log.name + OLDER))
        with log.open("r+b") as emptied:
            emptied.truncate(0)


class WarningFollower:
    """Reads on where it stopped in one log, and shows what a person should see.

    A service that retries says the same many times: each event is shown once in half a minute.
    """

    def __init__(
        self,
        name: str,
        log: Path,
        show: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._log = log
        self._show = show
        self._clock = clock
        self._offset = log.stat().st_size if log.exists() else 0
        self._shown_at: dict[tuple[str, str], float] = {}

    def follow(self) -> None:
        for line in self._new_lines():
            warning = _WARNING.search(line)
            if warning and self._is_news(warning["event"], warning["action"]):
                text = " ".join(line[warning.end("level") + 1 :].lstrip(" ]").split())
                self._show(f"{self._name} {warning['level']}: {text[:SHOWN_CHARACTERS]}")

    def _is_news(self, event: str, action: str) -> bool:
        now = self._clock()
        shown_at = self._shown_at.get((event, action), float("-inf"))
        if now - shown_at < SAME_AGAIN_AFTER_S:
            return False
        self._shown_at[event, action] = now
        return True

    def _new_lines(self) -> list[str]:
        if not self._log.exists():
            return []
        with self._log.open("rb") as log:
            if log.seek(0, os.SEEK_END) < self._offset:  # it was emptied
                self._offset = 0
            log.seek(self._offset)
            complete, newline, _begun = log.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        return complete.decode(errors="replace").splitlines()
