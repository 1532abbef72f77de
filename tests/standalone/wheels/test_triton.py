"""Where Triton's parts and the shared library of Python are looked for."""

import sys
import sysconfig
from pathlib import Path

import pytest

from standalone.wheels import triton
from standalone.wheels.triton import TritonInstallation, TritonUnavailableError
from tests.standalone.triton_wheel import PARTS, VERSION, triton_environment

LIBPYTHON = f"libpython{VERSION}.so.1.0"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    return triton_environment(tmp_path)


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
