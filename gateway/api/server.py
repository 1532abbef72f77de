"""How the API is served: uvicorn with our limits, one process or several, ended by a signal."""

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from gateway.api.protocol import ConnectionLimits, protocol_with
from gateway.settings import GatewaySettings
from runtime import metrics
from runtime.lifecycle import Lifecycle

EXIT_SIGNALS = (signal.SIGTERM, signal.SIGINT)
KEEP_ALIVE_S = 75  # longer than the 60 s of common proxies, which would answer 502 otherwise


def run(app_factory: str, settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    """Serve until SIGTERM; with several workers each process makes its own application."""
    config = _config(app_factory, settings)
    sockets = [config.bind_socket()]
    if settings.workers == 1:
        serve(uvicorn.Server(config), sockets, lifecycle)
        return
    with TemporaryDirectory(prefix="gateway-metrics-") as directory:
        metrics.share_between_workers(Path(directory))
        supervisor = Multiprocess(config, sockets)
        if not lifecycle.stopping:
            supervisor.run()


def serve(server: uvicorn.Server, sockets: list[socket.socket], lifecycle: Lifecycle) -> None:
    """Uvicorn takes signals only once it runs, and raises those again that it took, at its end."""
    for number in EXIT_SIGNALS:
        signal.signal(number, server.handle_exit)
    if not lifecycle.stopping:
        server.run(sockets)


def call_on_exit_signal(call: Callable[[], None]) -> None:
    """Beside what uvicorn does, which first waits for every answer that is still due."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in EXIT_SIGNALS:
        _chain(number, call)


def _chain(number: signal.Signals, call: Callable[[], None]) -> None:
    before = signal.getsignal(number)

    def handle(caught: int, frame: FrameType | None) -> None:
        call()
        if callable(before):
            before(caught, frame)

    signal.signal(number, handle)


def _config(app_factory: str, settings: GatewaySettings) -> uvicorn.Config:
    limits = ConnectionLimits(
        max_header_bytes=settings.max_header_bytes, header_timeout_s=settings.header_timeout_s
    )
    return uvicorn.Config(
        app_factory,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        ws="none",
        http=protocol_with(limits),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.shutdown_grace_s),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks for the client's address
    )
