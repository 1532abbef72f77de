"""Logs stay bounded, and what a person should see of them reaches the console."""

from pathlib import Path

import pytest

from standalone.service_logs import WarningFollower, bound

INFO = "2026-01-01T00:00:00Z [info     ] relayed\n"
WARNING = "2026-01-01T00:00:00Z [warning  ] will retry\n"
ERROR = "2026-01-01T00:00:00Z [error    ] cannot go on\n"


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


def test_only_new_warnings_and_errors_are_shown(log: Path) -> None:
    shown: list[str] = []
    log.write_text(ERROR)
    follower = WarningFollower("gateway-relay", log, shown.append)
    with log.open("a") as writer:
        writer.write(INFO + WARNING + ERROR + WARNING[:20])
    follower.follow()
    assert shown == [f"gateway-relay: {WARNING.strip()}", f"gateway-relay: {ERROR.strip()}"]
    with log.open("a") as writer:
        writer.write(WARNING[20:])
    follower.follow()
    assert shown[2:] == [f"gateway-relay: {WARNING.strip()}"]


def test_many_at_once_are_counted(log: Path) -> None:
    shown: list[str] = []
    follower = WarningFollower("gateway-relay", log, shown.append)
    follower.follow()
    log.write_text(WARNING * 10)
    follower.follow()
    assert shown[3:] == [f"gateway-relay: and 7 more warnings in {log}"]


def test_an_emptied_log_is_read_from_its_beginning(log: Path) -> None:
    shown: list[str] = []
    log.write_text(INFO * 10)
    follower = WarningFollower("gateway-relay", log, shown.append)
    log.write_text(ERROR)
    follower.follow()
    assert shown == [f"gateway-relay: {ERROR.strip()}"]
