"""One part over all its deaths: started, known to be ready, started again, at last stopped."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from standalone.console import Console
from standalone.machine.ports import is_free
from standalone.processes.part import Part
from standalone.processes.process_table import Row, State
from standalone.processes.restarts import RestartBackoff
from standalone.processes.steps import StartError, Steps

POLL_INTERVAL_S = 0.05
DEATHS_BEFORE_GIVING_UP = 3
"""For a part that has never been ready; one that has is started again for ever."""

AfterRestart = Callable[[], Awaitable[None]]


class Life:
    """All its methods belong to one event loop's thread, which must outlive the part."""

    def __init__(
        self,
        part: Part,
        steps: Steps,
        console: Console,
        *,
        after_restart: AfterRestart | None,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called whenever `row` would answer something new."""
        self.part = part
        self.state = State.STARTING
        self.restarts = 0
        self._steps = steps
        self._console = console
        self._after_restart = after_restart
        self._changed = changed
        self._was_ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Returns when the part is ready for the first time; raises StartError if it never is."""
        self._changed()
        self._task = asyncio.create_task(self._live())
        ready = asyncio.create_task(self._was_ready.wait())
        try:
            await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        self.raise_failure()

    def raise_failure(self) -> None:
        if self._task and self._task.done() and not self._task.cancelled():
            self._task.result()

    def row(self) -> Row:
        address = str(self.part.address)
        return Row(self.part.name, self.part.pid, self.state, self.restarts, address)

    async def end(self) -> None:
        """Ask it to stop, and end it when it does not."""
        self._stop_watching()
        self.part.request_stop()
        if not await self._gone_within(self.part.stop_grace_s):
            grace_s = self.part.stop_grace_s
            self._console.event(f"{self.part.name} did not stop within {grace_s:.0f} s: killed")
        self.kill()

    async def _gone_within(self, grace_s: float) -> bool:
        deadline = time.monotonic() + grace_s
        while self.part.pid is not None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_INTERVAL_S)
        return True

    def kill(self) -> None:
        self._stop_watching()
        self.part.kill()
        self._turn(State.STOPPED)

    def _stop_watching(self) -> None:
        if self._task:
            self._task.cancel()

    async def _live(self) -> None:
        backoff = RestartBackoff()
        deaths = 0
        while True:
            lived_s, ending = await self._one_life()
            deaths += 1
            if not self._was_ready.is_set() and deaths >= DEATHS_BEFORE_GIVING_UP:
                message = f"{self.part.name} {ending} {deaths} times, see {self.part.log_path}"
                raise StartError(f"{message}{self._port_hint()}", self.part.last_lines())
            delay_s = backoff.delay_s(lived_s)
            self._turn(State.DOWN)
            self._console.event(f"{self.part.name} {ending}: starts again in {delay_s:.1f} s")
            await asyncio.sleep(delay_s)
            self.restarts += 1

    async def _one_life(self) -> tuple[float, str]:
        """How long it lived, in seconds, and how it ended."""
        started = time.monotonic()
        try:
            await asyncio.to_thread(self.part.prepare, self._steps)
            started = time.monotonic()
            self.part.spawn()  # in this thread, which outlives it
        except (OSError, StartError) as exc:
            if not self._was_ready.is_set():
                raise
            return 0.0, f"cannot start ({exc})"
        self._turn(State.STARTING)
        await self._until_death(started)
        return time.monotonic() - started, self.part.ending()

    async def _until_death(self, started: float) -> None:
        readiness = asyncio.create_task(self._until_ready())
        try:
            while self.part.exit_code() is None:
                if self.state is State.STARTING:
                    if readiness.done():
                        readiness.result()
                        self._ready(time.monotonic() - started)
                    elif not self._was_ready.is_set():
                        self._check_patience(time.monotonic() - started)
                await asyncio.sleep(POLL_INTERVAL_S)
        finally:
            readiness.cancel()

    async def _until_ready(self) -> None:
        while True:
            if await asyncio.to_thread(self.part.is_ready):
                break
            await asyncio.sleep(POLL_INTERVAL_S)
        if self._after_restart and self.restarts:
            await self._after_restart()

    def _ready(self, after_s: float) -> None:
        self._turn(State.RUNNING)
        word = "is back" if self._was_ready.is_set() else "ready"
        self._console.event(f"{self.part.name} {word} at {self.part.address} ({after_s:.1f} s)")
        self._was_ready.set()

    def _check_patience(self, waited_s: float) -> None:
        if waited_s > self.part.ready_timeout_s:
            message = f"{self.part.name} was not ready within {waited_s:.0f} s"
            raise StartError(f"{message}, see {self.part.log_path}", self.part.last_lines())

    def _port_hint(self) -> str:
        port = self.part.address.port
        return "" if is_free(port) else f". Another program has taken port {port} meanwhile"

    def _turn(self, state: State) -> None:
        self.state = state
        self._changed()
