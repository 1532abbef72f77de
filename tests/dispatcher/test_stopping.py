"""A stop ends by its deadline, also where a thread is stuck for ever."""

import subprocess
import sys

import pytest

from dispatcher.settings import DispatcherSettings
from dispatcher.stopping import CLOSING_S, StopDeadline
from runtime.lifecycle import Lifecycle
from tests.conftest import ROOT

STOP_LIMIT_S = 25.0  # after which standalone kills

PROCESS = """
import sys, threading
from dispatcher.stopping import StopDeadline
from runtime.lifecycle import Lifecycle

lifecycle = Lifecycle()
StopDeadline(lifecycle, float(sys.argv[1])).watch()
if sys.argv[2] == "stuck":
    threading.Thread(target=threading.Event().wait).start()
lifecycle.stop()
"""


def test_nothing_ends_before_the_stop() -> None:
    class Waiting(Lifecycle):
        waits = 0

        def sleep(self, seconds: float) -> None:
            self.waits += 1
            assert ended == []
            if self.waits == 3:
                self.stop()

    slept: list[float] = []
    ended: list[int] = []
    lifecycle = Waiting()
    StopDeadline(lifecycle, 7.0, ended.append, slept.append).enforce()
    assert (lifecycle.waits, slept, ended) == (3, [7.0], [0])


@pytest.mark.parametrize(
    ("within_s", "threads", "is_late"),
    [
        pytest.param("0.2", "stuck", True, id="a stuck thread does not keep the process"),
        pytest.param("3600", "none", False, id="nor does the deadline itself"),
    ],
)
def test_the_process_ends(within_s: str, threads: str, is_late: bool) -> None:
    command = [sys.executable, "-c", PROCESS, within_s, threads]
    done = subprocess.run(command, cwd=ROOT, timeout=30, check=False, capture_output=True)
    assert done.returncode == 0
    assert (b"stop took too long" in done.stdout + done.stderr) == is_late


def test_the_defaults_stop_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "OBJECT_STORE_URL", "TRITON_GRPC_ADDRESS"):
        monkeypatch.setenv(f"DISPATCHER_{name}", "file:///nowhere")
    assert DispatcherSettings().drain_grace_s + CLOSING_S < STOP_LIMIT_S
