"""What `ps` shows is true at the moment it is asked, whatever the file says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone.processes.process_identity import ProcessIdentity
from standalone.processes.process_table import ProcessTable, Row, State
from standalone.ps import as_json, as_lines

ADDRESS = "127.0.0.1:21000"


@pytest.fixture
def table(tmp_path: Path) -> ProcessTable:
    return ProcessTable(tmp_path / "processes.json")


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def row(pid: int | None, state: State = State.RUNNING) -> Row:
    return Row("kafka", pid, state, 2, ADDRESS)


def test_nothing_was_ever_started(table: ProcessTable) -> None:
    assert table.read() == []
    assert table.remembered() == []


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_file_is_an_empty_table(
    table: ProcessTable, tmp_path: Path, content: str
) -> None:
    (tmp_path / "processes.json").write_text(content)
    assert table.read() == []


def test_a_running_process_is_shown_as_written(
    table: ProcessTable, sleeper: "subprocess.Popen[bytes]"
) -> None:
    table.write([row(sleeper.pid, State.STARTING)])
    assert table.read() == [row(sleeper.pid, State.STARTING)]
    assert table.remembered() == [ProcessIdentity.of(sleeper.pid)]


def test_what_died_since_the_last_change_is_down_at_once(
    table: ProcessTable, sleeper: "subprocess.Popen[bytes]"
) -> None:
    table.write([row(sleeper.pid)])
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
    assert table.read() == [row(None, State.DOWN)]
    assert table.remembered() == []


def test_a_number_that_was_used_again_is_another_process(
    table: ProcessTable, tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    table.write([row(sleeper.pid)])
    path = tmp_path / "processes.json"
    content = json.loads(path.read_text())
    content["processes"][0]["identity"]["started_ticks"] -= 1
    path.write_text(json.dumps(content))
    assert table.read() == [row(None, State.DOWN)]
    assert table.remembered() == []


def test_without_its_supervisor_all_is_stopped(table: ProcessTable, tmp_path: Path) -> None:
    table.write([row(None, State.DOWN)])
    path = tmp_path / "processes.json"
    content = json.loads(path.read_text())
    content["supervisor"]["started_ticks"] -= 1
    path.write_text(json.dumps(content))
    assert table.read() == [row(None, State.STOPPED)]


def test_the_identity_of_a_program_with_a_strange_name(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity is not None
        assert identity.runs
        process.kill()
    assert not identity.runs


def test_json_has_exactly_the_promised_fields() -> None:
    assert json.loads(as_json([row(17), row(None, State.DOWN)])) == [
        {"name": "kafka", "pid": 17, "state": "running", "restarts": 2, "address": ADDRESS},
        {"name": "kafka", "pid": None, "state": "down", "restarts": 2, "address": ADDRESS},
    ]


def test_lines_are_aligned() -> None:
    lines = as_lines([row(17), Row("gateway-relay", None, State.DOWN, 11, "h:1")]).splitlines()
    assert lines == [
        "NAME           PID  STATE    RESTARTS  ADDRESS",
        "kafka          17   running  2         127.0.0.1:21000",
        "gateway-relay  -    down     11        h:1",
    ]
