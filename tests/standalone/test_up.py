"""`up` that cannot begin says why, what to do, and leaves nothing behind."""

import io
import socket
from pathlib import Path

import pytest

from standalone.console import Console
from standalone.machine.ports import free_port
from standalone.processes.data_folder import DataFolder
from standalone.processes.process_table import ProcessTable
from standalone.processes.supervisor import Supervisor
from standalone.settings import StandaloneSettings
from standalone.up import StopRequests, up


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


def settings(tmp_path: Path, **ports: int) -> StandaloneSettings:
    gateway_port = free_port()
    chosen = {"gateway_port": gateway_port, "triton_grpc_port": free_port({gateway_port}), **ports}
    return StandaloneSettings(data_dir=tmp_path, **chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gateway_port", "triton_grpc_port"])
def test_a_taken_port_is_named_with_what_to_do(
    tmp_path: Path, said: io.StringIO, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert up(settings(tmp_path, **{name: port}), Console(said)) == 1
    message = said.getvalue()
    variable = f"STANDALONE_{name.upper()}"
    assert f"Cannot go on: Port {port} ({variable}) is taken" in message
    assert f"sport = :{port}" in message
    suggested = int(message.rpartition(f"{variable}=")[2].split()[0])
    assert suggested != port


@pytest.mark.parametrize(
    ("seconds_after_the_first", "killed"),
    [([], False), ([0.0, 0.2], False), ([0.4], True), ([0.1, 2.0], True)],
)
def test_only_a_later_signal_ends_everything_at_once(
    tmp_path: Path, said: io.StringIO, seconds_after_the_first: list[float], killed: bool
) -> None:
    console = Console(said)
    supervisor = Supervisor(tmp_path, ProcessTable(tmp_path / "processes.json"), console)
    now_s = 100.0
    stop = StopRequests(console, supervisor, clock=lambda: now_s)
    stop.request()
    for seconds in seconds_after_the_first:
        now_s = 100.0 + seconds
        stop.request()
    assert stop.requested.is_set()
    assert stop.impatient is killed
    assert said.getvalue().count("stopping") == 1


def test_a_data_folder_in_use_is_named(tmp_path: Path, said: io.StringIO) -> None:
    with DataFolder(tmp_path).held():
        assert up(settings(tmp_path), Console(said)) == 1
    assert f"A platform already runs on the data folder {tmp_path}" in said.getvalue()
