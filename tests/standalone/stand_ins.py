"""Tiny real processes in place of the parts: they say they are ready by making a file."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from standalone.machine.loopback import loopback
from standalone.machine.ports import free_port
from standalone.processes.command import Command
from standalone.processes.part import Part
from standalone.processes.process_identity import ProcessIdentity

READY_THEN_SLEEP = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""

DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""

WITH_A_CHILD = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""

DIES_AT_ONCE = """
import sys
print("the disk is on fire")
sys.exit(7)
"""

NEVER_READY = "import time; time.sleep(60)"

LEAVES_A_NOTE_AT_THE_END = """
import pathlib, signal, sys, time
def end(*_):
    with open(sys.argv[2], "a") as notes:
        notes.write(sys.argv[3] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


class StandIn(Part):
    """Runs a script that gets the path of its ready file as its first argument."""

    stop_grace_s = 5.0
    ready_timeout_s = 20.0

    def __init__(self, name: str, data_dir: Path, script: str = READY_THEN_SLEEP) -> None:
        super().__init__(name, data_dir, loopback(free_port()))
        self.ready_file = data_dir / f"{name}.ready"
        self.notes = data_dir / "notes"
        self._script = script

    def command(self) -> Command:
        self.ready_file.unlink(missing_ok=True)
        script = [sys.executable, "-S", "-c", self._script]
        return Command(
            self.name, [*script, str(self.ready_file), str(self.notes), self.name], self.log_path
        )

    def is_ready(self) -> bool:
        return self.ready_file.exists()


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def runs(pid: int) -> bool:
    return ProcessIdentity.of(pid) is not None


def environment_without(prefix: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(prefix)}
