"""The one folder that holds everything a platform keeps: made, checked, and held by one process."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from standalone.machine.ports import PortBook
from standalone.processes.process_table import ProcessTable
from standalone.processes.steps import StartError

FREE_BYTES_NEEDED = 1_000_000_000


class DataFolder:
    """`path` is absolute. Two platforms never share one: `held` sees to it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.objects = self.path / "objects"
        self.logs = self.path / "logs"
        self.process_table = ProcessTable(self.path / "processes.json")

    def port_book(self, reserved: set[int]) -> PortBook:
        """`reserved` ports are never given to a name."""
        return PortBook(self.path / "ports.json", reserved=reserved)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep others off it. Raises StartError."""
        with self._made() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise StartError(
                    f"A platform already runs on the data folder {self.path}: stop it, or start "
                    "this one with another STANDALONE_DATA_DIR (and other ports)."
                ) from exc
            yield

    def _made(self) -> IO[str]:
        try:
            for folder in (self.path, self.objects, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            return (self.path / "lock").open("a")
        except OSError as exc:
            raise StartError(
                f"The data folder {self.path} cannot be written ({exc.strerror}): start as the "
                "user it belongs to, or choose another with STANDALONE_DATA_DIR."
            ) from exc

    def check_space(self) -> None:
        """Raises StartError while there is time to make room."""
        free_bytes = shutil.disk_usage(self.path).free
        if free_bytes < FREE_BYTES_NEEDED:
            raise StartError(
                f"Only {free_bytes // 10**6} MB are free on the disk of {self.path}, and "
                f"{FREE_BYTES_NEEDED // 10**6} MB are needed: make room, or choose another data "
                "folder with STANDALONE_DATA_DIR."
            )

    def shown(self) -> str:
        """Relative where that is shorter to read."""
        relative = os.path.relpath(self.path)
        return str(self.path) if relative.startswith("..") else relative
