"""Settings come in; the whole platform runs until Ctrl-C: this file stops what the others start.

The order of the start is in `startup.py`.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from standalone.console import Console
from standalone.machine import ports
from standalone.processes.data_folder import DataFolder
from standalone.processes.leftovers import end_leftovers
from standalone.processes.steps import StartError
from standalone.processes.supervisor import Supervisor
from standalone.settings import StandaloneSettings
from standalone.startup import Startup

BLOCKING_CALLS_AT_ONCE = 32
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SAME_REQUEST_S = 0.3

STOPPED = 0
CANNOT_GO_ON = 1
KILLED_BY_HAND = 130


def up(settings: StandaloneSettings, console: Console) -> int:
    """Returns the exit code."""
    folder = DataFolder(settings.data_dir)
    try:
        with folder.held():
            folder.check_space()
            if ended := end_leftovers(folder.path, folder.process_table.remembered()):
                console.event(f"ended {ended} processes that an earlier run left behind")
            _check_port("STANDALONE_GATEWAY_PORT", settings.gateway_port)
            _check_port("STANDALONE_TRITON_GRPC_PORT", settings.triton_grpc_port)
            return asyncio.run(_serve(settings, folder, console))
    except StartError as exc:
        console.failure(str(exc), exc.log_lines)
        return CANNOT_GO_ON


def _check_port(variable: str, port: int) -> None:
    if not ports.is_free(port):
        raise StartError(
            f"Port {port} ({variable}) is taken by another program. See which with "
            f"`ss -ltnp 'sport = :{port}'` and stop it, or choose another: "
            f"{variable}={ports.free_port()} make up"
        )


async def _serve(settings: StandaloneSettings, folder: DataFolder, console: Console) -> int:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(BLOCKING_CALLS_AT_ONCE))
    supervisor = Supervisor(folder.path, folder.process_table, console)
    startup = Startup(settings, folder, supervisor, console)
    stop = StopRequests(console, supervisor)
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.request)
    try:
        await _first_of(startup.start_and_serve(), supervisor.failure(), stop.requested.wait())
        exit_code = STOPPED
    except StartError as exc:
        console.failure(str(exc), exc.log_lines)
        exit_code = CANNOT_GO_ON
    finally:
        await supervisor.stop()
    console.event("stopped")
    return KILLED_BY_HAND if stop.impatient else exit_code


class StopRequests:
    """The first signal asks all to end, one that comes later ends them.

    What follows at once is the first again: `make` passes on what the whole group was sent.
    """

    def __init__(
        self,
        console: Console,
        supervisor: Supervisor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requested = asyncio.Event()
        self.impatient = False
        self._requested_at = 0.0
        self._console = console
        self._supervisor = supervisor
        self._clock = clock

    def request(self) -> None:
        if not self.requested.is_set():
            self._console.event("stopping; the same again ends everything at once")
            self._requested_at = self._clock()
            self.requested.set()
        elif self._clock() - self._requested_at > SAME_REQUEST_S:
            self.impatient = True
            self._supervisor.kill()


async def _first_of(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Wait for the first to end, cancel the others, and raise what it raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()
