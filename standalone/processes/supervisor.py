"""Parts go in; they are kept running until `stop`: what dies is started again, with backoff."""

import asyncio
from enum import IntEnum
from pathlib import Path

from standalone.console import Console
from standalone.processes.life import AfterRestart, Life
from standalone.processes.part import Part
from standalone.processes.process_table import ProcessTable, State
from standalone.processes.steps import StartError, Steps

FAILURE_CHECK_S = 0.1


class Layer(IntEnum):
    """Higher layers need the lower ones, and so are stopped before them."""

    DEPENDENCY = 0
    SERVICE = 1


class Supervisor:
    """Starts, watches and stops parts. All its methods belong to one event loop's thread."""

    def __init__(self, data_dir: Path, table: ProcessTable, console: Console) -> None:
        self.steps = Steps(data_dir)
        self._table = table
        self._console = console
        self._lives: dict[Life, Layer] = {}
        self._stopping = False

    async def start(
        self, part: Part, layer: Layer, after_restart: AfterRestart | None = None
    ) -> None:
        """Returns when `part` is ready for the first time; raises StartError when it cannot be.

        `after_restart` gives a part that forgets what it needs, each time it is back.
        """
        if self._stopping:
            raise StartError(f"{part.name} is not started: everything is stopping")
        life = Life(
            part,
            self.steps,
            self._console,
            after_restart=after_restart,
            changed=self._write_table,
        )
        self._lives[life] = layer
        await life.begin()

    def waiting_for(self) -> list[str]:
        """The parts that are not ready."""
        return [life.part.name for life in self._lives if life.state is not State.RUNNING]

    async def failure(self) -> None:
        """Never returns; raises what made a life end that should not."""
        while True:
            for life in self._lives:
                life.raise_failure()
            await asyncio.sleep(FAILURE_CHECK_S)

    async def stop(self) -> None:
        """Ask all to end, the highest layer first, and end those which do not."""
        self._stopping = True
        self.steps.cancel()
        for layer in sorted(set(self._lives.values()), reverse=True):
            ending = [life.end() for life, its_layer in self._lives.items() if its_layer == layer]
            await asyncio.gather(*ending)

    def kill(self) -> None:
        """End all at once."""
        self._stopping = True
        self.steps.cancel()
        for life in self._lives:
            life.kill()

    def _write_table(self) -> None:
        in_order = sorted(self._lives, key=lambda life: (self._lives[life], life.part.name))
        self._table.write([life.row() for life in in_order])
