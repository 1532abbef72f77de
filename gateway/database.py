"""Postgres: a small pool of connections, deadlines on every statement, errors translated once."""

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from runtime.backoff import Backoff
from runtime.errors import Permanent, StorageFull, Unavailable

T = TypeVar("T")

CONNECT_TIMEOUT_S = 3
LOCK_TIMEOUT_S = 3.0
IDLE_IN_TRANSACTION_S = 60
RETRY = Backoff(base_s=0.05, cap_s=0.5)

_SESSION = (
    "-c timezone=UTC -c statement_timeout={statement_ms} -c lock_timeout={lock_ms}"
    " -c idle_in_transaction_session_timeout={idle_ms}"
)


class Unstorable(Permanent):
    """Postgres cannot hold these values, now or later."""

    def __init__(self, detail: str) -> None:
        super().__init__("unstorable", detail)


class Database:
    """Connections for many threads; at most `pool_size` at once, further callers wait.

    Every psycopg2 error that a retry may mend leaves as runtime.errors.Retryable, what no column
    can hold as Unstorable.
    """

    def __init__(self, url: str, pool_size: int, timeout_s: float, retry_s: float = 0.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._slots = threading.BoundedSemaphore(pool_size)
        self._idle: list[Connection] = []
        _bound_every_wait(timeout_s + LOCK_TIMEOUT_S)

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """One transaction: committed at the end of the block, rolled back on any error."""
        with self._borrowed() as connection, connection, connection.cursor() as cursor:
            yield cursor

    @contextmanager
    def statement(self) -> Iterator[Cursor]:
        """For one statement that is its own transaction: one round trip instead of three."""
        with self._borrowed() as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor
            connection.autocommit = False

    def retrying(self, work: Callable[[Cursor], T]) -> T:
        """Run one idempotent statement; outlast a Postgres that restarts.

        Raises the last Retryable once `retry_s` have passed.
        """
        give_up_at = time.monotonic() + self._retry_s
        attempt = 0
        while True:
            try:
                with self.statement() as cursor:
                    return work(cursor)
            except Unavailable:
                attempt += 1
                delay_s = RETRY.delay_s(attempt)
                if time.monotonic() + delay_s > give_up_at:
                    raise
                time.sleep(delay_s)

    def connect(self) -> Connection:
        """A connection of the caller's own. Raises Unavailable."""
        options = _SESSION.format(
            statement_ms=int(self._timeout_s * 1000),
            lock_ms=int(LOCK_TIMEOUT_S * 1000),
            idle_ms=IDLE_IN_TRANSACTION_S * 1000,
        )
        with _translated_errors():
            return psycopg2.connect(self._url, connect_timeout=CONNECT_TIMEOUT_S, options=options)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        if not self._slots.acquire(timeout=self._timeout_s):
            raise Unavailable("all database connections are busy")
        try:
            connection = self._take()
            try:
                with _translated_errors():
                    yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
        finally:
            self._slots.release()

    def _take(self) -> Connection:
        """An idle connection that its server has not ended meanwhile, else a new one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self.connect()
            if not readable(connection, timeout_s=0):
                return connection
            connection.close()  # a server says nothing unasked but that it ends


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except psycopg2.errors.DiskFull as exc:
        raise StorageFull("the database has no room left") from exc
    except (psycopg2.DataError, psycopg2.errors.ProgramLimitExceeded) as exc:
        raise Unstorable(f"database: {str(exc).strip()}") from exc
    except (
        psycopg2.OperationalError,  # away, too slow, a deadlock
        psycopg2.InterfaceError,
        psycopg2.InternalError,  # read-only after a failover
        psycopg2.IntegrityError,  # two did the same at once
    ) as exc:
        raise Unavailable(f"database: {str(exc).strip()}") from exc


def readable(connection: Connection, timeout_s: float) -> bool:
    """Whether there is something to read, an ended connection included. Any descriptor will do."""
    return _is_ready(connection, select.POLLIN, timeout_s)


def _is_ready(connection: Connection, event: int, timeout_s: float) -> bool:
    poller = select.poll()  # select() takes no descriptor beyond 1,023
    poller.register(connection.fileno(), event)
    return bool(poller.poll(timeout_s * 1000))


def _bound_every_wait(limit_s: float) -> None:
    """Give up on a server that is there but silent, which no server-side timeout can do."""

    def wait(connection: Connection) -> None:
        while True:
            state = connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            reading = state == psycopg2.extensions.POLL_READ
            if not _is_ready(connection, select.POLLIN if reading else select.POLLOUT, limit_s):
                # psycopg2 closes the connection itself; to close it here would wait for ever.
                raise psycopg2.OperationalError(f"no answer within {limit_s} s")

    psycopg2.extensions.set_wait_callback(wait)
