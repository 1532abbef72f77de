"""Requirement files go in, virtual environments that hold exactly them come out, side by side."""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from standalone.console import Console
from standalone.machine.checkout import REPOSITORY_ROOT
from standalone.wheels import checks, pip_advice
from standalone.wheels.checks import CannotInstall

REQUIREMENTS = REPOSITORY_ROOT / "requirements"
TRITON = REPOSITORY_ROOT / ".venv-triton"

STAMP = "installed.json"
UNFINISHED = "unfinished"
LOG = "install.log"
FILES_FOLDER = "opt"
PROGRESS_INTERVAL_S = 2.0
TAIL_LINES = 15
TAIL_BYTES = 16_384

EXPORT_BYTES_NEEDED = 9_000_000_000

PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar=off"]
EXACTLY = ["--no-deps", "--require-hashes", "--only-binary=:all:"]
FOR_ITS_FILES = ["--python-version=3.12", "--implementation=cp", "--abi=cp312", "--no-compile"]
"""One wheel for every Python: nothing of it is imported."""


@dataclass
class Environment:
    """A virtual environment: `packages` are importable, `files_of` are wheels only unpacked."""

    folder: Path
    packages: Sequence[Path]
    files_of: Sequence[Path] = ()
    bytes_needed: int = 1_000_000_000
    doing: str = "waiting"
    _child: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _cancelled: bool = field(default=False, init=False)

    @property
    def is_current(self) -> bool:
        """Whether it holds what the requirement files say; more is fine."""
        held = self._held()
        return all(held.get(name) == digest for name, digest in self._wanted().items())

    def install(self) -> None:
        """From whatever state it is in. Raises CannotInstall."""
        if self._is_broken():
            self.doing = "removing what was left unfinished"
            shutil.rmtree(self.folder)
        held = self._held()
        self.folder.mkdir(exist_ok=True)
        (self.folder / UNFINISHED).touch()
        if not self._python.exists():
            self._run("creating it", [sys.executable, "-m", "venv", str(self.folder)])
        for requirements in self.packages:
            if held.get(requirements.name) != _digest(requirements):
                self._pip(requirements)
        for requirements in self.files_of:
            if held.get(requirements.name) != _digest(requirements):
                self._unpack(requirements)
        (self.folder / STAMP).write_text(json.dumps({**held, **self._wanted()}, indent=2) + "\n")
        (self.folder / UNFINISHED).unlink()

    def cancel(self) -> None:
        self._cancelled = True
        if self._child and self._child.poll() is None:
            self._child.terminate()

    @property
    def _python(self) -> Path:
        return self.folder / "bin" / "python"

    def _pip(self, requirements: Path, *options: str) -> None:
        arguments = [*PIP, *EXACTLY, *options, "--requirement", str(requirements)]
        self._run(requirements.stem, [str(self._python), *arguments])

    def _unpack(self, requirements: Path) -> None:
        unfinished = self.folder / f"{FILES_FOLDER}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._pip(requirements, *FOR_ITS_FILES, f"--target={unfinished}")
        shutil.rmtree(self.folder / FILES_FOLDER, ignore_errors=True)
        unfinished.rename(self.folder / FILES_FOLDER)

    def _run(self, doing: str, arguments: list[str]) -> None:
        self.doing = doing
        log_path = self.folder / LOG
        with log_path.open("ab") as log:
            starts_at = log.tell()
            self._child = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PIP_USER": "0", "PYTHONUNBUFFERED": "1"},
            )
        code = self._child.wait()
        if self._cancelled:
            raise CannotInstall("it was cancelled; the next run begins this environment anew")
        if code != 0:
            output = log_path.read_bytes()[starts_at:].decode(errors="replace")
            tail = "\n".join(output.splitlines()[-TAIL_LINES:])
            raise CannotInstall(f"{pip_advice.advice(output)}\n{tail}\n(all of it in {log_path})")

    def progress(self) -> str:
        return f"{self.folder.name}: {self.doing} {self._last_line()}".rstrip()

    def _last_line(self) -> str:
        try:
            text = (self.folder / LOG).read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"({pip_advice.shortened(lines[-1])})" if lines else ""

    def _is_broken(self) -> bool:
        """An install was cut off, or the Python it was made with is gone or another one now."""
        if not self.folder.exists():
            return False
        made_with = self._held().get("python", _python_version())
        return (
            (self.folder / UNFINISHED).exists()
            or not self._python.exists()
            or made_with != _python_version()
        )

    def _held(self) -> dict[str, str]:
        try:
            held = json.loads((self.folder / STAMP).read_text())
        except (OSError, ValueError):
            return {}
        unfinished = (self.folder / UNFINISHED).exists() or not self._python.exists()
        return {} if unfinished or not isinstance(held, dict) else held

    def _wanted(self) -> dict[str, str]:
        files = {path.name: _digest(path) for path in (*self.packages, *self.files_of)}
        return {**files, "python": _python_version()}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="standalone.install", description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what `make lint test` needs")
    parser.add_argument("--export", action="store_true", help="also PyTorch and what exports CLIP")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        _install(_environments(dev=options.dev, export=options.export), console)
    except CannotInstall as exc:
        console.failure(str(exc))
        return 1
    except KeyboardInterrupt:
        console.failure("interrupted; the next run takes it up again")
        return 130
    return 0


def _environments(*, dev: bool, export: bool) -> list[Environment]:
    packages = [REQUIREMENTS / "platform.txt"] + ([REQUIREMENTS / "dev.txt"] if dev else [])
    environments = [
        Environment(
            REPOSITORY_ROOT / ".venv", packages, files_of=[REQUIREMENTS / "standalone.txt"]
        ),
        Environment(TRITON, [REQUIREMENTS / "triton.txt"]),
    ]
    if export:
        environments.append(_export_environment())
    return environments


def _export_environment() -> Environment:
    """PyTorch brings CUDA's libraries along, whether there is a GPU or not."""
    return Environment(
        REPOSITORY_ROOT / ".venv-export",
        [REQUIREMENTS / "export.txt"],
        bytes_needed=EXPORT_BYTES_NEEDED,
    )


def _install(environments: Sequence[Environment], console: Console) -> None:
    """All at once, one install at a time in this checkout. Raises CannotInstall."""
    here = checks.this_machine(REPOSITORY_ROOT)
    checks.check(here)
    lock = os.open(REQUIREMENTS, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outdated = [environment for environment in environments if not environment.is_current]
        if outdated:
            checks.check_space(here, sum(each.bytes_needed for each in outdated))
            checks.check_libpython(TRITON)
            _install_side_by_side(outdated, console)
    finally:
        os.close(lock)


def _install_side_by_side(environments: Sequence[Environment], console: Console) -> None:
    failures: list[CannotInstall] = []
    threads = [_begin(environment, failures) for environment in environments]
    try:
        while any(thread.is_alive() for thread in threads) and not failures:
            threads[-1 if threads[-1].is_alive() else 0].join(PROGRESS_INTERVAL_S)
            if any(thread.is_alive() for thread in threads):
                console.progress("; ".join(each.progress() for each in environments))
    finally:
        for environment in environments:
            environment.cancel()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    console.event("installed: " + ", ".join(each.folder.name for each in environments))


def _begin(environment: Environment, failures: list[CannotInstall]) -> threading.Thread:
    def install() -> None:
        try:
            environment.install()
            environment.doing = "done"
        except CannotInstall as exc:
            failures.append(exc)
        except OSError as exc:
            failures.append(CannotInstall(f"{environment.folder}: {exc}"))

    thread = threading.Thread(target=install, name=environment.folder.name)
    thread.start()
    return thread


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
