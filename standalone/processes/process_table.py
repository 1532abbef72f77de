"""What `ps` shows: the supervisor writes it at every change, anyone may read it."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from standalone.processes.process_identity import ProcessIdentity


class State(str, Enum):
    STARTING = "starting"
    RUNNING = "running"
    DOWN = "down"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Row:
    """`pid` is the process that does the work, None while it is down."""

    name: str
    pid: int | None
    state: State
    restarts: int
    address: str


class ProcessTable:
    """The table as a file of JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, rows: Sequence[Row]) -> None:
        """Replaced as a whole: a reader never sees half of it."""
        table = {
            "supervisor": _identity(os.getpid()),
            "processes": [{**asdict(row), "identity": _identity(row.pid)} for row in rows],
        }
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(table, indent=2) + "\n")
        unfinished.replace(self._path)

    def read(self) -> list[Row]:
        """As it is now: what died since the last change is down, and stopped without supervisor."""
        table = self._load()
        supervised = _runs(table.get("supervisor"))
        return [_row_now(entry, supervised) for entry in table.get("processes", [])]

    def remembered(self) -> list[ProcessIdentity]:
        """Every process in the table that still runs."""
        entries = [entry["identity"] for entry in self._load().get("processes", [])]
        return [ProcessIdentity(**entry) for entry in entries if _runs(entry)]

    def _load(self) -> dict[str, Any]:
        try:
            table = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return table if isinstance(table, dict) else {}


def _identity(pid: int | None) -> dict[str, int] | None:
    identity = ProcessIdentity.of(pid) if pid is not None else None
    return asdict(identity) if identity else None


def _runs(identity: dict[str, int] | None) -> bool:
    return identity is not None and ProcessIdentity(**identity).runs


def _row_now(entry: dict[str, Any], supervised: bool) -> Row:
    alive = _runs(entry["identity"])
    died_since = entry["pid"] is not None and not alive
    state = State.DOWN if died_since else State(entry["state"])
    return Row(
        name=entry["name"],
        pid=entry["pid"] if alive else None,
        state=state if supervised or alive else State.STOPPED,
        restarts=entry["restarts"],
        address=entry["address"],
    )
