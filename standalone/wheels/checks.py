"""Whether the wheels can run on this machine: each check says what is wrong and what to do."""

import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from standalone.wheels import triton

LIBPYTHON_IN_WHEEL = (3, 13)
"""Triton's wheel brings the shared library of this version, and no other."""

LOWEST_GLIBC = (2, 35)
COMPOSE = "Use Docker instead: docker compose up"


class CannotInstall(Exception):
    """The message says what is wrong and what to do."""


@dataclass(frozen=True)
class Machine:
    """What the checks look at, so that they can be tried on machines we do not have."""

    system: str
    architecture: str
    glibc: tuple[int, int] | None
    has_venv: bool
    python: str
    free_bytes: int


def this_machine(folder: Path) -> Machine:
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        glibc=_glibc(),
        has_venv=all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        free_bytes=shutil.disk_usage(folder).free,
    )


def check(machine: Machine) -> None:
    """Raises CannotInstall."""
    if (machine.system, machine.architecture) != ("Linux", "x86_64"):
        raise CannotInstall(
            "The wheels are for Linux on x86-64, and this is "
            f"{machine.system} on {machine.architecture}. {COMPOSE}"
        )
    if machine.glibc is None or machine.glibc < LOWEST_GLIBC:
        found = _named(machine.glibc)
        raise CannotInstall(
            f"Triton's wheel needs {_named(LOWEST_GLIBC)} (Debian 12, "
            f"Ubuntu 22.04 or newer), and this system has {found}. {COMPOSE}"
        )
    if not machine.has_venv:
        raise CannotInstall(
            "Python's venv module is missing. Debian, Ubuntu: "
            f"apt install python{machine.python}-venv"
        )


def check_space(machine: Machine, needed_bytes: int) -> None:
    """Raises CannotInstall. Only where something is to be installed."""
    if machine.free_bytes < needed_bytes:
        raise CannotInstall(
            f"The environments need {needed_bytes // 10**6} MB, and "
            f"{machine.free_bytes // 10**6} MB are free: make room on this disk"
        )


def check_libpython(environment: Path) -> None:
    """`environment` is Triton's, perhaps not there yet. Raises CannotInstall."""
    if sys.version_info[:2] == LIBPYTHON_IN_WHEEL:
        return
    try:
        triton.libpython_directory(environment)
    except triton.TritonUnavailableError as exc:
        raise CannotInstall(f"{exc}. {COMPOSE}") from exc


def _named(glibc: tuple[int, int] | None) -> str:
    return f"glibc {glibc[0]}.{glibc[1]}" if glibc else "another C library"


def _glibc() -> tuple[int, int] | None:
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (ValueError, OSError):  # musl and others
        return None
    if name != "glibc":
        return None
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
