"""Where Triton's parts are looked for, and how they are put together and started."""

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from standalone import triton
from standalone.triton import TritonInstallation, TritonUnavailableError

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBPYTHON = f"libpython{VERSION}.so.1.0"
PARTS = (
    "bin/tritonserver",
    "backends/python/libtriton_python.so",
    "backends/python/triton_python_backend_utils.py",
    f"python_backend_stubs/{VERSION}/triton_python_backend_stub",
)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment that holds the wheel, as far as its files' names go."""
    environment = tmp_path / ".venv-triton"
    wheel = environment / "lib" / f"python{VERSION}" / "site-packages" / "pytriton" / "tritonserver"
    for part in PARTS:
        (wheel / part).parent.mkdir(parents=True, exist_ok=True)
        (wheel / part).write_text(part)
        (wheel / part).chmod(0o755)
    return environment


@pytest.fixture(autouse=True)
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter whose shared library lies where it says it does."""
    libraries = tmp_path / "python" / "lib"
    libraries.mkdir(parents=True)
    (libraries / LIBPYTHON).touch()
    facts = {"LIBDIR": str(libraries), "MULTIARCH": "x86_64-linux-gnu"}
    monkeypatch.setattr(sysconfig, "get_config_var", facts.get)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(triton, "SYSTEM_LIBRARIES", (str(tmp_path / "system"),))
    return libraries


@pytest.fixture
def installation(environment: Path) -> TritonInstallation:
    return TritonInstallation.find(environment)


@pytest.mark.parametrize("part", PARTS)
def test_an_environment_without_a_part_is_refused_by_the_parts_name(
    environment: Path, part: str
) -> None:
    next(environment.rglob(part)).unlink()
    with pytest.raises(TritonUnavailableError, match=rf"{Path(part).name} is missing: remove "):
        TritonInstallation.find(environment)


@pytest.mark.parametrize(
    "place",
    [
        "python/lib",
        "python/lib/x86_64-linux-gnu",
        "prefix/lib",
        "prefix/lib/x86_64-linux-gnu",
        "system",
        "system/x86_64-linux-gnu",
    ],
)
def test_libpython_is_found_where_pythons_keep_it(
    tmp_path: Path, libraries: Path, place: str
) -> None:
    (libraries / LIBPYTHON).unlink()
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / LIBPYTHON).touch()
    assert triton.libpython_directory(tmp_path / "bundled") == tmp_path / place


def test_the_library_that_the_wheel_brings_comes_first(tmp_path: Path) -> None:
    major, minor = sys.version_info[:2]
    (tmp_path / f"libpython{major}-0123abcd.{minor}.so.1.0").touch()
    assert triton.libpython_directory(tmp_path) == tmp_path


def test_a_python_without_its_library_is_told_what_to_install(
    tmp_path: Path, libraries: Path
) -> None:
    (libraries / LIBPYTHON).unlink()
    with pytest.raises(TritonUnavailableError, match=f"apt install libpython{VERSION}"):
        triton.libpython_directory(tmp_path)


def test_backends_are_files_side_by_side_and_the_stub_can_run(
    installation: TritonInstallation, tmp_path: Path
) -> None:
    backends = tmp_path / "backends"
    (backends / "gone").mkdir(parents=True)
    (backends / "gone" / "model.py").touch()

    triton.lay_out_backends(installation, backends)

    files = sorted(str(p.relative_to(backends)) for p in backends.rglob("*") if p.is_file())
    assert files == [
        "openvino/model.py",
        "python/libtriton_python.so",
        "python/triton_python_backend_stub",
        "python/triton_python_backend_utils.py",
    ]
    assert not any(path.is_symlink() for path in backends.rglob("*"))  # Triton refuses links
    assert os.access(backends / "python" / "triton_python_backend_stub", os.X_OK)


def test_the_command_serves_the_cpu_configurations_on_the_given_ports_only(
    installation: TritonInstallation, tmp_path: Path
) -> None:
    command = triton.command(
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
        "--grpc-address=127.0.0.1",
        "--grpc-port=18001",
        "--metrics-address=127.0.0.1",
        "--metrics-port=18002",
        "--allow-http=false",
        "--backend-config=python,shm-region-prefix-name=triton_x_",
    } <= set(command)


def test_the_environment_finds_the_libraries_and_the_python_of_the_wheel(
    installation: TritonInstallation, environment: Path, libraries: Path
) -> None:
    inherited = {
        "PATH": "/usr/bin",
        "HOME": "/home/me",
        "PYTHONPATH": "/elsewhere",
        "LD_LIBRARY_PATH": "/elsewhere",
    }
    assert triton.environment(installation, inherited) == {
        "HOME": "/home/me",
        "PATH": f"{environment}/bin:/usr/bin",
        "LD_LIBRARY_PATH": f"{libraries}:{installation.site_packages}/nvidia_pytriton.libs",
    }


def test_each_data_folder_has_shared_memory_of_its_own(tmp_path: Path) -> None:
    one, other = triton.shared_memory_prefix(tmp_path / "a"), triton.shared_memory_prefix(tmp_path)
    assert one != other
    assert triton.shared_memory_prefix(tmp_path / "b" / ".." / "a") == one


def test_only_what_a_folders_own_triton_left_is_removed(tmp_path: Path) -> None:
    for name in ("triton_a_1", "triton_a_2", "triton_b_1"):
        (tmp_path / name).touch()
    assert len(triton.remove_shared_memory("triton_a_", tmp_path)) == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["triton_b_1"]
    assert triton.remove_shared_memory("triton_a_", tmp_path) == []
