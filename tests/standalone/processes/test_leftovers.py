"""What a killed supervisor left is ended; what is not ours is left alone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from standalone.processes.child import MARKER
from standalone.processes.leftovers import end_leftovers
from standalone.processes.process_identity import ProcessIdentity
from tests.standalone.stand_ins import eventually

SLEEP = "import time; print(flush=True); time.sleep(60)"
Start = Callable[[dict[str, str]], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    processes = []

    def start(environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        line = [sys.executable, "-S", "-c", SLEEP]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, env={**os.environ, **environment})
        assert process.stdout
        process.stdout.readline()
        processes.append(process)
        return process

    yield start
    for process in processes:
        with process:
            process.kill()


def test_a_marked_process_is_ended(start: Start, tmp_path: Path) -> None:
    process = start({MARKER: str(tmp_path)})
    assert end_leftovers(tmp_path, []) == 1
    assert eventually(lambda: process.poll() is not None)


def test_a_remembered_process_is_ended(start: Start, tmp_path: Path) -> None:
    process = start({})
    identity = ProcessIdentity.of(process.pid)
    assert identity
    assert end_leftovers(tmp_path, [identity]) == 1
    assert eventually(lambda: process.poll() is not None)


@pytest.mark.parametrize("suffix", ["-other", "/deeper"])
def test_another_folders_process_is_left_alone(start: Start, tmp_path: Path, suffix: str) -> None:
    process = start({MARKER: f"{tmp_path}{suffix}"})
    assert end_leftovers(tmp_path, []) == 0
    assert process.poll() is None


def test_a_process_with_a_remembered_number_is_left_alone(start: Start, tmp_path: Path) -> None:
    process = start({})
    identity = ProcessIdentity.of(process.pid)
    assert identity
    end_leftovers(tmp_path, [ProcessIdentity(process.pid, identity.started_ticks - 1)])
    assert process.poll() is None
