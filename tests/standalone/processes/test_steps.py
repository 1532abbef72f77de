"""Commands that run to their end: well, badly, too long, or cancelled."""

import contextlib
import sys
import threading
from pathlib import Path

import pytest

from standalone.processes.command import Command
from standalone.processes.steps import StartError, Steps
from tests.standalone.stand_ins import eventually


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path)


def command(tmp_path: Path, script: str) -> Command:
    return Command("migrate", [sys.executable, "-S", "-c", script], tmp_path / "migrate.log")


def test_a_step_that_ends_well(steps: Steps, tmp_path: Path) -> None:
    steps.run(command(tmp_path, "print('done')"), 10)
    assert steps.now() == []


def test_a_step_that_fails_shows_its_last_words(steps: Steps, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"migrate failed \(exit code 4\), see .*migrate.log") as e:
        steps.run(command(tmp_path, "import sys; print('no room'); sys.exit(4)"), 10)
    assert e.value.log_lines == ["no room"]


def test_a_step_that_takes_too_long_is_ended(steps: Steps, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="migrate took over 0 s"):
        steps.run(command(tmp_path, "import time; time.sleep(60)"), 0.3)


def test_cancelling_ends_what_runs(steps: Steps, tmp_path: Path) -> None:
    failures: list[StartError] = []

    def run() -> None:
        try:
            steps.run(command(tmp_path, "import time; print('1 of 9'); time.sleep(60)"), 60)
        except StartError as exc:
            failures.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    assert eventually(lambda: steps.now() == ["migrate"])
    steps.cancel()
    thread.join(10)
    assert str(failures[0]) == "migrate was cancelled"


def test_what_runs_is_shown_with_its_last_line(steps: Steps, tmp_path: Path) -> None:
    script = "import time; print('1  of   9', flush=True); time.sleep(60)"

    def run() -> None:
        with contextlib.suppress(StartError):
            steps.run(command(tmp_path, script), 60)

    thread = threading.Thread(target=run)
    thread.start()
    assert eventually(lambda: steps.now() == ["migrate (1 of 9)"])
    steps.cancel()
    thread.join(10)


def test_two_steps_of_one_name_may_run_at_once(steps: Steps, tmp_path: Path) -> None:
    script = "import pathlib, sys, time\nwhile not pathlib.Path({!r}).exists(): time.sleep(0.02)"
    ends = [tmp_path / "first ends", tmp_path / "second ends"]
    failures: list[Exception] = []

    def run(end: Path) -> None:
        try:
            steps.run(command(tmp_path, script.format(str(end))), 30)
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=[end]) for end in ends]
    for thread in threads:
        thread.start()
    assert eventually(lambda: steps.now() == ["migrate", "migrate"])
    ends[0].touch()
    threads[0].join(10)
    assert steps.now() == ["migrate"]
    ends[1].touch()
    threads[1].join(10)
    assert steps.now() == []
    assert failures == []
