"""A child, its group, and that neither outlives what started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from standalone.processes.child import MARKER, Child, how_it_ended
from standalone.processes.command import Command
from tests.standalone.stand_ins import WITH_A_CHILD, eventually, runs

Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    children = []

    def start(script: str, *arguments: str, **options: object) -> Child:
        line = [sys.executable, "-S", "-c", script, *arguments]
        command = Command("child", line, tmp_path / "child.log", **options)  # type: ignore[arg-type]
        children.append(Child(command, tmp_path))
        return children[-1]

    yield start
    for child in children:
        child.kill()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-9, "killed by SIGKILL"),
        (-99, "killed by signal 99"),
    ],
)
def test_how_it_ended(code: int, words: str) -> None:
    assert how_it_ended(code) == words


def test_exit_code(start: Start) -> None:
    assert start("import sys; sys.exit(5)").wait(10) == 5


def test_a_running_child_has_no_exit_code(start: Start) -> None:
    child = start("import time; time.sleep(60)")
    assert child.exit_code() is None
    child.kill()
    assert child.exit_code() == -signal.SIGKILL


def test_its_pid_is_the_program_itself(start: Start, tmp_path: Path) -> None:
    child = start(
        "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()))", f"{tmp_path}/pid"
    )
    child.wait(10)
    assert int((tmp_path / "pid").read_text()) == child.pid


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    child = Child(Command("child", ["/no/such/program"], tmp_path / "child.log"), tmp_path)
    assert child.wait(10) == 126
    assert child.last_lines() == ["cannot run /no/such/program: No such file or directory"]


def test_environment_is_added_to_ours_with_the_marker(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "1")
    script = f"import os; print(os.environ['OURS'], os.environ['ADDED'], os.environ['{MARKER}'])"
    child = start(script, environment={"ADDED": "2"})
    assert child.wait(10) == 0
    assert child.last_lines() == [f"1 2 {tmp_path}"]


def test_environment_can_be_all_there_is(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    child = start("import os; print('OURS' in os.environ)", inherits_environment=False)
    child.wait(10)
    assert child.last_lines() == ["False"]


def test_standard_input(start: Start) -> None:
    child = start("print(input())", stdin_text="from the parent\n")
    child.wait(10)
    assert child.last_lines() == ["from the parent"]


def test_last_lines_are_of_this_child_only(start: Start) -> None:
    start("print('before')").wait(10)
    child = start("print('now'); print(); print('end')")
    child.wait(10)
    assert child.last_lines() == ["now", "end"]


def test_kill_takes_its_own_children_along(start: Start, tmp_path: Path) -> None:
    child = start(WITH_A_CHILD, f"{tmp_path}/grandchild")
    grandchild = _pid_in(tmp_path / "grandchild")
    child.kill()
    assert eventually(lambda: not runs(grandchild))


def test_its_own_children_do_not_outlive_its_death(start: Start, tmp_path: Path) -> None:
    child = start(WITH_A_CHILD, f"{tmp_path}/grandchild")
    grandchild = _pid_in(tmp_path / "grandchild")
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    assert eventually(lambda: not runs(grandchild))


def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent_script = f"""
import pathlib, sys, time
from standalone.processes.child import Child
from standalone.processes.command import Command
folder = pathlib.Path({str(tmp_path)!r})
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
child = Child(Command("child", sleep, folder / "child.log"), folder)
(folder / "child").write_text(str(child.pid))
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", parent_script]) as parent:
        child = _pid_in(tmp_path / "child")
        assert runs(child)
        parent.kill()
    assert eventually(lambda: not runs(child))


def _pid_in(path: Path) -> int:
    assert eventually(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())
