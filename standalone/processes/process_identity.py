"""Which process is meant: its number is used again after its death, with a start time it is not."""

from dataclasses import dataclass
from pathlib import Path

_AFTER_NAME = ") "
_STATE = 0
_START_TIME = 19
"""Positions in /proc/PID/stat behind the program's name, which itself may hold anything."""


@dataclass(frozen=True)
class ProcessIdentity:
    pid: int
    started_ticks: int

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """None when nothing of this number runs; one that is dead but not yet reaped does not."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(_AFTER_NAME)[2].split()
        return None if fields[_STATE] in {"Z", "X"} else cls(pid, int(fields[_START_TIME]))

    @property
    def runs(self) -> bool:
        return ProcessIdentity.of(self.pid) == self
