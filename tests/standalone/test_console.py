"""Lines with the time since the start; on a terminal the line of what is waited for is replaced."""

import io

from standalone.console import CLEAR_LINE, Console


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class GoneTerminal(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_events_carry_the_seconds_since_the_start() -> None:
    clock, stream = Clock(), io.StringIO()
    console = Console(stream, clock)
    clock.now_s = 102.34
    console.event("redis ready")
    console.text("done")
    assert stream.getvalue() == "    2.3 s  redis ready\ndone\n"


def test_silence_is_counted_from_the_last_line() -> None:
    clock = Clock()
    console = Console(io.StringIO(), clock)
    clock.now_s = 103.0
    assert console.silent_s == 3.0
    console.progress("waiting for kafka")
    assert console.silent_s == 0.0


def test_progress_is_a_line_where_nobody_looks() -> None:
    stream = io.StringIO()
    Console(stream, Clock()).progress("waiting for kafka")
    assert stream.getvalue() == "    0.0 s  ... waiting for kafka\n"


def test_progress_is_written_over_on_a_terminal() -> None:
    stream = Terminal()
    console = Console(stream, Clock())
    console.progress("waiting for kafka")
    console.event("kafka ready")
    first, second = stream.getvalue().split(CLEAR_LINE)[1:]
    assert first == "    0.0 s  ... waiting for kafka"
    assert second == "    0.0 s  kafka ready\n"


def test_a_failure_shows_the_last_words() -> None:
    stream = io.StringIO()
    Console(stream, Clock()).failure("kafka died", ["no room"])
    assert stream.getvalue() == "\nCannot go on: kafka died\n    | no room\n"


def test_a_terminal_that_is_gone_stops_nothing() -> None:
    Console(GoneTerminal(), Clock()).event("stopped")
