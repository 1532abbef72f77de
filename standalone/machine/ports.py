"""Which port each part listens on: those set stay as they are, the others are free and kept."""

import json
import random
import socket
from collections.abc import Callable, Collection
from pathlib import Path

from standalone.machine.loopback import LOOPBACK

LOWEST_PORT = 20_000
HIGHEST_PORT = 32_000
"""Below the range from which Linux takes the near end of outgoing connections: while a part is
down, no client can be given its port, nor connect to itself by taking it."""

TRIES = 1000


class NoFreePort(Exception):
    """Every port that was tried is taken."""


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closing ones do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = (), free: Callable[[int], bool] = is_free) -> int:
    """A port that nobody listens on, and that is not among `taken`."""
    for _ in range(TRIES):
        port = random.randint(LOWEST_PORT, HIGHEST_PORT)
        if port not in taken and free(port):
            return port
    raise NoFreePort(f"no free port between {LOWEST_PORT} and {HIGHEST_PORT}")


class PortBook:
    """Ports by name, in a file: the same after a restart, unless another program took one."""

    def __init__(
        self,
        path: Path,
        reserved: Collection[int] = (),
        free: Callable[[int], bool] = is_free,
    ) -> None:
        self._path = path
        self._reserved = reserved
        self._free = free
        self._kept = _read(path)
        self._given: dict[str, int] = {}

    def port(self, name: str) -> int:
        """The port of `name`, the same for the life of this book."""
        if name not in self._given:
            self._given[name] = self._kept_or_new(name)
            self._kept[name] = self._given[name]
            self._path.write_text(json.dumps(self._kept, indent=2) + "\n")
        return self._given[name]

    def _kept_or_new(self, name: str) -> int:
        kept = self._kept.get(name)
        others = {*self._reserved, *self._given.values()}
        if kept is not None and kept not in others and self._free(kept):
            return kept
        return free_port(taken={*others, *self._kept.values()}, free=self._free)


def _read(path: Path) -> dict[str, int]:
    try:
        book = json.loads(path.read_text())
    except (OSError, ValueError):  # none yet, or cut off: all are chosen again
        return {}
    return book if isinstance(book, dict) else {}
