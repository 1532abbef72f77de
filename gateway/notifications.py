"""Postgres LISTEN and NOTIFY: wake the relay on uploads, and waiting readers on results.

A lost notification costs a poll interval, never an image.
"""

import threading
from collections.abc import Callable, Iterable, Iterator

import structlog
from psycopg2 import Error
from psycopg2.extensions import connection as Connection  # noqa: N812

from gateway.database import Database, readable
from runtime.errors import Retryable
from runtime.lifecycle import Lifecycle

log = structlog.get_logger(__name__)

SUBMITTED = "image_submitted"
TERMINAL = "image_terminal"
# Uploads of this long are announced together.
COALESCE_S = 0.002
MAX_PAYLOAD_BYTES = 7_000  # Postgres allows 8,000

NOTIFY = "SELECT pg_notify(%s, %s)"


class Listener:
    """One connection that listens on one channel, reconnecting as needed; for one thread."""

    def __init__(self, database: Database, channel: str) -> None:
        self._database = database
        self._channel = channel
        self._connection: Connection | None = None

    def wait(self, timeout_s: float) -> list[str]:
        """Payloads that arrived, [] after `timeout_s`. Raises Retryable when Postgres is away."""
        try:
            connection = self._connected()
            if not connection.notifies:
                readable(connection, timeout_s)
                connection.poll()
            payloads = [str(notify.payload) for notify in connection.notifies]
            connection.notifies.clear()
        except (Error, OSError, ValueError) as exc:
            self.close()
            raise Retryable(f"lost the connection that listens on {self._channel}") from exc
        return payloads

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connection = self._database.connect()
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {self._channel}")
        return self._connection


class Doorbell:
    """Announces uploads from a thread of its own, many with one NOTIFY.

    A NOTIFY inside each upload's own transaction would make their commits queue up.
    """

    def __init__(self, database: Database, lifecycle: Lifecycle) -> None:
        self._database = database
        self._lifecycle = lifecycle
        self._rung = threading.Event()
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ring(self) -> None:
        self._rung.set()

    def _run(self) -> None:
        while not self._lifecycle.stopping:
            if not self._rung.wait(timeout=1.0):
                continue
            self._lifecycle.sleep(COALESCE_S)
            self._rung.clear()
            notify(self._database, SUBMITTED, [""])


def announce_terminal(database: Database, image_ids: Iterable[int]) -> None:
    """Wake whoever waits for these images."""
    notify(database, TERMINAL, _payloads(image_ids))


def notify(database: Database, channel: str, payloads: Iterable[str]) -> None:
    """Best effort: the listeners poll as well."""
    try:
        with database.statement() as cursor:
            for payload in payloads:
                cursor.execute(NOTIFY, (channel, payload))
    except Exception as exc:
        log.warning("not notified", action="notify", channel=channel, error=str(exc))


def _payloads(image_ids: Iterable[int]) -> Iterator[str]:
    """Comma-joined ids, each payload within what Postgres allows."""
    payload = ""
    for image_id in image_ids:
        if len(payload) > MAX_PAYLOAD_BYTES:
            yield payload
            payload = ""
        payload += f",{image_id}" if payload else str(image_id)
    if payload:
        yield payload


def parse_ids(payloads: Iterable[str]) -> list[int]:
    """The inverse of what `announce_terminal` sends; anything else is ignored."""
    words = (word for payload in payloads for word in payload.split(","))
    return [int(word) for word in words if word.isdecimal()]


class TerminalListener:
    """Listens from a thread of its own and hands the ids that became terminal to `on_terminal`."""

    def __init__(
        self, listener: Listener, lifecycle: Lifecycle, on_terminal: Callable[[list[int]], None]
    ) -> None:
        self._listener = listener
        self._lifecycle = lifecycle
        self._on_terminal = on_terminal
        self._thread = threading.Thread(target=self._run, name="terminal-listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._lifecycle.stopping:
            try:
                image_ids = parse_ids(self._listener.wait(timeout_s=1.0))
                if image_ids:
                    self._on_terminal(image_ids)
            except Exception as exc:  # this thread must outlive whatever it meets
                log.warning("will retry", action="listen", error=str(exc))
                self._lifecycle.sleep(1.0)
        self._listener.close()
