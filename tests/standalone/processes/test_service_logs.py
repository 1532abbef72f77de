"""Logs stay bounded, and what a person should see of them reaches the console."""

from pathlib import Path

import pytest

from standalone.processes.service_logs import WarningFollower, bound

INFO = "2026-01-01T00:00:00Z [info     ] relayed        action=publish service=gateway-relay\n"
RETRY = "2026-01-01T00:00:00Z [warning  ] will retry     action=publish attempt=1\n"
RETRY_LISTEN = "2026-01-01T00:00:00Z [warning  ] will retry     action=listen attempt=1\n"
ERROR = "2026-01-01T00:00:00Z [error    ] cannot go on   service=x action=migrate error='no disk'\n"
LIBRARY = "2026-01-01T00:00:00Z [error    ] <KafkaConnection>: Connection lost  service=x\n"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Followed:
    """A log that is followed from its present end."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.clock = Clock()
        self.shown: list[str] = []
        self._follower = WarningFollower("relay", log, self.shown.append, self.clock)

    def write(self, text: str) -> list[str]:
        """What is shown of it."""
        self.shown.clear()
        with self.log.open("a") as writer:
            writer.write(text)
        self._follower.follow()
        return self.shown


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "gateway-relay.log"


def test_a_log_within_its_bound_is_left_alone(log: Path) -> None:
    log.write_text(INFO)
    bound(log, largest_bytes=len(INFO))
    assert log.read_text() == INFO


def test_a_log_over_its_bound_is_moved_and_written_on(log: Path) -> None:
    with log.open("a") as writer:
        writer.write(INFO)
        writer.flush()
        bound(log, largest_bytes=10)
        writer.write(ERROR)
    assert log.with_name("gateway-relay.log.1").read_text() == INFO
    assert log.read_text() == ERROR


def test_a_log_that_is_not_there_is_no_problem(log: Path) -> None:
    bound(log)
    assert Followed(log).write("") == []


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (INFO, []),
        (LIBRARY, []),
        (RETRY, ["relay warning: will retry action=publish attempt=1"]),
        (ERROR, ["relay error: cannot go on service=x action=migrate error='no disk'"]),
        ("Traceback (most recent call last):\n", []),
        (
            RETRY + RETRY_LISTEN,
            [
                "relay warning: will retry action=publish attempt=1",
                "relay warning: will retry action=listen attempt=1",
            ],
        ),
    ],
)
def test_our_own_warnings_and_errors_are_shown(log: Path, line: str, shown: list[str]) -> None:
    assert Followed(log).write(line) == shown


def test_what_stood_there_before_is_not_shown(log: Path) -> None:
    log.write_text(ERROR)
    assert Followed(log).write(INFO) == []


def test_a_line_is_shown_when_it_is_complete(log: Path) -> None:
    followed = Followed(log)
    assert followed.write(ERROR[:50]) == []
    assert len(followed.write(ERROR[50:])) == 1


def test_the_same_again_is_shown_after_a_while_only(log: Path) -> None:
    followed = Followed(log)
    assert len(followed.write(RETRY * 5)) == 1
    followed.clock.now_s = 29.0
    assert followed.write(RETRY) == []
    followed.clock.now_s = 31.0
    assert len(followed.write(RETRY)) == 1


def test_an_emptied_log_is_read_from_its_beginning(log: Path) -> None:
    log.write_text(INFO * 10)
    followed = Followed(log)
    log.write_text("")
    assert len(followed.write(ERROR)) == 1
