"""What a supervisor that was killed may have left running is ended before the next start."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from standalone.processes.child import MARKER
from standalone.processes.process_identity import ProcessIdentity

GONE_WITHIN_S = 10.0
POLL_INTERVAL_S = 0.05


def end_leftovers(data_dir: Path, remembered: Iterable[ProcessIdentity]) -> int:
    """Kill what the last process table names, and what carries this data folder's marker.

    Only for the holder of the data folder's lock: nobody else may be running anything on it.
    Returns how many processes there were.
    """
    found = {*remembered, *_marked(data_dir)}
    for identity in found:
        if identity.runs:
            os.kill(identity.pid, signal.SIGKILL)
    deadline = time.monotonic() + GONE_WITHIN_S
    while any(identity.runs for identity in found) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
    return len(found)


def _marked(data_dir: Path) -> list[ProcessIdentity]:
    entry = f"{MARKER}={data_dir}".encode()
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    marked = [pid for pid in pids if pid != os.getpid() and entry in _environment(pid)]
    return [identity for pid in marked if (identity := ProcessIdentity.of(pid))]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it ended meanwhile, or is not ours to see
        return []
