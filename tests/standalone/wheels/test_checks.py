"""Each thing that can be wrong with a machine is named, with what to do about it."""

from dataclasses import replace
from pathlib import Path

import pytest

from standalone.wheels.checks import CannotInstall, Machine, check, check_space, this_machine

GOOD = Machine(
    system="Linux",
    architecture="x86_64",
    glibc=(2, 36),
    has_venv=True,
    python="3.11",
    free_bytes=50 * 10**9,
)


@pytest.mark.parametrize("glibc", [(2, 35), (2, 36), (3, 0)])
def test_a_good_machine_passes(glibc: tuple[int, int]) -> None:
    check(replace(GOOD, glibc=glibc))
    check_space(GOOD, GOOD.free_bytes)


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (replace(GOOD, system="Darwin", architecture="arm64"), ["Darwin", "docker compose up"]),
        (replace(GOOD, architecture="aarch64"), ["aarch64", "docker compose up"]),
        (replace(GOOD, glibc=(2, 34)), ["glibc 2.34", "2.35", "docker compose up"]),
        (replace(GOOD, glibc=None), ["another C library", "docker compose up"]),
        (replace(GOOD, has_venv=False), ["apt install python3.11-venv"]),
    ],
)
def test_what_is_wrong_is_named(machine: Machine, words: list[str]) -> None:
    with pytest.raises(CannotInstall) as caught:
        check(machine)
    assert all(word in str(caught.value) for word in words)


def test_too_little_space_is_named_with_how_much_there_is() -> None:
    with pytest.raises(CannotInstall, match="700 MB are free"):
        check_space(replace(GOOD, free_bytes=700 * 10**6), 2 * 10**9)


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    here = this_machine(tmp_path)
    assert here.system == "Linux"
    assert here.free_bytes > 0
