"""What the person at the terminal sees: one line an event, with the seconds since the start."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import TextIO

CLEAR_LINE = "\r\x1b[2K"
TERMINAL_WIDTH = 100


class Console:
    """Plain lines; on a terminal the last line may be one that is written over."""

    def __init__(
        self, stream: TextIO = sys.stdout, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._last_line_at = self._started
        self._overwritable = stream.isatty()

    def event(self, text: str) -> None:
        """Something happened, now."""
        self._write(f"{self.elapsed_s:7.1f} s  {text}\n")

    def text(self, text: str = "") -> None:
        self._write(f"{text}\n")

    def progress(self, text: str) -> None:
        """What is being waited for: written over on a terminal, a line of its own elsewhere."""
        line = f"{self.elapsed_s:7.1f} s  ... {text}"[:TERMINAL_WIDTH]
        self._write(line if self._overwritable else f"{line}\n")

    def failure(self, message: str, log_lines: Iterable[str] = ()) -> None:
        self._write(f"\nCannot go on: {message}\n")
        for line in log_lines:
            self._write(f"    | {line}\n")

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._started

    @property
    def silent_s(self) -> float:
        return self._clock() - self._last_line_at

    def _write(self, text: str) -> None:
        self._last_line_at = self._clock()
        try:
            self._stream.write((CLEAR_LINE if self._overwritable else "") + text)
            self._stream.flush()
        except (BrokenPipeError, OSError):  # the terminal is gone; the platform still has to stop
            self._overwritable = False
