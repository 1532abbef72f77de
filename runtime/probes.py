"""The HTTP side of a process that serves no API: liveness, readiness and metrics."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runtime import metrics

REQUEST_TIMEOUT_S = 5.0


class Probes:
    """Serves `/livez`, `/readyz` and `/actuator/prometheus` from a daemon thread.

    `is_live` and `is_ready` are asked at each request and must answer without blocking.
    """

    def __init__(
        self, host: str, port: int, is_live: Callable[[], bool], is_ready: Callable[[], bool]
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_TIMEOUT_S

            def do_GET(self) -> None:
                if self.path == metrics.PATH:
                    self._reply(200, metrics.render(), metrics.CONTENT_TYPE)
                elif self.path in {"/livez", "/readyz"}:
                    well = is_live() if self.path == "/livez" else is_ready()
                    self._reply(200 if well else 503, b"ok\n" if well else b"not ready\n")
                else:
                    self._reply(404, b"not found\n")

            def _reply(self, status: int, body: bytes, content_type: str = "text/plain") -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Probes arrive every few seconds; a line for each would hide the rest."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="probes", daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
