"""`up` that cannot begin says why, what to do, and leaves nothing behind."""

import io
import socket
from pathlib import Path

import pytest

from standalone.console import Console
from standalone.data_folder import DataFolder
from standalone.ports import free_port
from standalone.settings import StandaloneSettings
from standalone.up import up


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


def test_a_data_folder_in_use_is_named(tmp_path: Path, said: io.StringIO) -> None:
    with DataFolder(tmp_path).held():
        assert up(settings(tmp_path), Console(said)) == 1
    assert f"A platform already runs on the data folder {tmp_path}" in said.getvalue()
