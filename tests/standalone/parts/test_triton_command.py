"""How the installed Triton is put together and started."""

import os
from pathlib import Path

import pytest

from standalone.parts import triton_command
from standalone.wheels.triton import TritonInstallation
from tests.standalone.triton_wheel import VERSION, triton_environment

LIBPYTHON_FOLDER = Path("/opt/python/lib")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    return triton_environment(tmp_path)


@pytest.fixture
def installation(environment: Path) -> TritonInstallation:
    site_packages = next(environment.rglob("site-packages"))
    return TritonInstallation(environment, site_packages, LIBPYTHON_FOLDER, VERSION)


def test_backends_are_files_side_by_side_and_the_stub_can_run(
    installation: TritonInstallation, tmp_path: Path
) -> None:
    backends = tmp_path / "backends"
    (backends / "gone").mkdir(parents=True)
    (backends / "gone" / "model.py").touch()

    triton_command.lay_out_backends(installation, backends)

    files = sorted(str(p.relative_to(backends)) for p in backends.rglob("*") if p.is_file())
    assert files == [
        "onnxruntime/model.py",
        "openvino/model.py",
        "python/joined_requests.py",
        "python/libtriton_python.so",
        "python/numpy_mend.py",
        "python/server_sentinel.py",
        "python/standalone_stub.py",
        "python/triton_python_backend_stub",
        "python/triton_python_backend_utils.py",
    ]
    utilities = (backends / "python" / "triton_python_backend_utils.py").read_text()
    assert utilities.splitlines()[-1] == "import standalone_stub"
    assert not any(path.is_symlink() for path in backends.rglob("*"))  # Triton refuses links
    assert os.access(backends / "python" / "triton_python_backend_stub", os.X_OK)


def test_the_command_serves_the_cpu_configurations_on_the_given_ports_only(
    installation: TritonInstallation, tmp_path: Path
) -> None:
    command = triton_command.command(
        installation,
        model_repository=tmp_path / "models",
        backends=tmp_path / "backends",
        host="127.0.0.1",
        grpc_port=18001,
        metrics_port=18002,
        shared_memory_prefix="triton_x_",
    )
    assert command[0] == str(installation.server)
    assert {
        f"--model-repository={tmp_path}/models",
        f"--backend-directory={tmp_path}/backends",
        "--model-config-name=cpu",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--grpc-address=127.0.0.1",
        "--grpc-port=18001",
        "--metrics-address=127.0.0.1",
        "--metrics-port=18002",
        "--allow-http=false",
        "--backend-config=python,shm-region-prefix-name=triton_x_",
    } <= set(command)


def test_the_environment_finds_the_libraries_and_the_python_of_the_wheel(
    installation: TritonInstallation, environment: Path
) -> None:
    inherited = {
        "PATH": "/usr/bin",
        "HOME": "/home/me",
        "PYTHONPATH": "/elsewhere",
        "LD_LIBRARY_PATH": "/elsewhere",
    }
    assert triton_command.environment(installation, inherited) == {
        "HOME": "/home/me",
        "PATH": f"{environment}/bin:/usr/bin",
        "LD_LIBRARY_PATH": f"{LIBPYTHON_FOLDER}:{installation.site_packages}/nvidia_pytriton.libs",
    }
