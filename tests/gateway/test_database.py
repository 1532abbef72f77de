"""Database: a bounded pool, broken connections replaced, dead and silent servers outlasted."""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
from psycopg2 import errorcodes

from gateway import database as database_module
from gateway.database import Database, Unstorable
from runtime.errors import StorageFull, Unavailable
from standalone.machine.ports import free_port
from standalone.parts.postgres import EmbeddedPostgres
from tests.conftest import running
from tests.gateway import rows

pytestmark = pytest.mark.integration

TIMEOUT_S = 1.0
LOCK_TIMEOUT_S = 0.5


@pytest.fixture(autouse=True)
def _short_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "LOCK_TIMEOUT_S", LOCK_TIMEOUT_S)


@pytest.fixture(scope="module")
def fragile_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that this module may kill and stop."""
    part = EmbeddedPostgres(tmp_path_factory.mktemp("fragile"), free_port())
    for _ in running(part):
        yield part


def restart(part: EmbeddedPostgres) -> None:
    part.kill()
    part.start()
    part.wait_ready()


def opened(part: EmbeddedPostgres, pool_size: int = 4, retry_s: float = 0.0) -> Database:
    return Database(part.url, pool_size, timeout_s=TIMEOUT_S, retry_s=retry_s)


def select_one(database: Database) -> int:
    return int(rows.value(database, "SELECT 1"))


def backends(database: Database) -> int:
    return int(
        rows.value(
            database,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend'",
        )
    )


def test_no_more_connections_than_the_pool_allows(database_url: str) -> None:
    database = Database(database_url, pool_size=3, timeout_s=5)
    most: list[int] = []

    def work() -> None:
        most.extend(backends(database) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 60
    assert max(most) <= 3
    database.close()


def test_a_caller_waits_for_a_free_connection(database_url: str) -> None:
    database = Database(database_url, pool_size=1, timeout_s=5)
    answers: list[int] = []
    with database.statement():
        waiting = threading.Thread(target=lambda: answers.append(select_one(database)))
        waiting.start()
        waiting.join(timeout=0.2)
        assert waiting.is_alive()
        assert not answers
    waiting.join(timeout=5)
    assert answers == [1]
    database.close()


def test_a_caller_who_waited_too_long_is_told_so(database_url: str) -> None:
    database = Database(database_url, pool_size=1, timeout_s=0.2)
    with database.statement(), pytest.raises(Unavailable, match="busy"):
        select_one(database)
    assert select_one(database) == 1
    database.close()


def test_connections_are_reused(database: Database) -> None:
    first = rows.value(database, "SELECT pg_backend_pid()")
    assert {rows.value(database, "SELECT pg_backend_pid()") for _ in range(5)} == {first}


def test_an_error_rolls_a_transaction_back(database: Database) -> None:
    def insert_and_fail() -> None:
        with database.transaction() as cursor:
            cursor.execute("CREATE TABLE kept (n INT)")
            raise LookupError

    with pytest.raises(LookupError):
        insert_and_fail()
    assert rows.value(database, "SELECT to_regclass('kept')") is None


def test_sessions_are_in_utc_whatever_the_server_is(database: Database) -> None:
    assert rows.value(database, "SHOW timezone") == "UTC"


def test_an_idle_connection_that_the_server_ended_is_not_handed_out(database: Database) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(database.statement())
    other = psycopg2.connect(database._url)
    with other, other.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert len(cursor.fetchall()) == 4
    other.close()
    assert select_one(database) == 1  # not one Unavailable, although nothing is retried here


def test_descriptors_beyond_1023_are_no_trouble(database_url: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 4_096), limits[1]))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    database = Database(database_url, pool_size=1, timeout_s=5)
    try:
        assert select_one(database) == 1
        assert select_one(database) == 1
    finally:
        database.close()
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("sqlstate", "error"),
    [
        (errorcodes.DISK_FULL, StorageFull),
        (errorcodes.DEADLOCK_DETECTED, Unavailable),
        (errorcodes.SERIALIZATION_FAILURE, Unavailable),
        (errorcodes.READ_ONLY_SQL_TRANSACTION, Unavailable),
        (errorcodes.IN_FAILED_SQL_TRANSACTION, Unavailable),
        (errorcodes.UNIQUE_VIOLATION, Unavailable),
        (errorcodes.FOREIGN_KEY_VIOLATION, Unavailable),
        (errorcodes.TOO_MANY_CONNECTIONS, Unavailable),
        (errorcodes.ADMIN_SHUTDOWN, Unavailable),
        (errorcodes.CANNOT_CONNECT_NOW, Unavailable),
        (errorcodes.QUERY_CANCELED, Unavailable),
        (errorcodes.LOCK_NOT_AVAILABLE, Unavailable),
        (errorcodes.OUT_OF_MEMORY, Unavailable),
        (errorcodes.INVALID_TEXT_REPRESENTATION, Unstorable),
        (errorcodes.NUMERIC_VALUE_OUT_OF_RANGE, Unstorable),
        (errorcodes.PROGRAM_LIMIT_EXCEEDED, Unstorable),
        (errorcodes.UNDEFINED_TABLE, psycopg2.errors.UndefinedTable),
    ],
)
def test_errors_are_told_apart(database: Database, sqlstate: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        rows.execute(database, f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$")
    assert select_one(database) == 1


def test_a_server_that_became_read_only_is_unavailable(database: Database) -> None:
    """As after a failover, while the address still leads to the old primary."""
    rows.execute(database, "SET default_transaction_read_only = on")
    with pytest.raises(Unavailable, match="read-only"):
        rows.insert(database)


def test_more_words_than_a_search_vector_holds_are_unstorable(database: Database) -> None:
    """Goes red where it is taken for an outage, and tried for ever."""
    with pytest.raises(Unstorable, match="tsvector"):
        rows.insert(database, description=" ".join(f"word{n}" for n in range(120_000)))
    assert rows.value(database, "SELECT count(*) FROM images") == 0


def test_a_statement_has_a_deadline(fragile_postgres: EmbeddedPostgres) -> None:
    database = opened(fragile_postgres)
    started_s = time.monotonic()
    with pytest.raises(Unavailable):
        rows.execute(database, "SELECT pg_sleep(30)")
    assert TIMEOUT_S * 0.8 < time.monotonic() - started_s < TIMEOUT_S + 2
    database.close()


def test_waiting_for_a_lock_has_a_deadline(database: Database) -> None:
    image = rows.insert(database)
    started_s = time.monotonic()
    with database.transaction() as holder:
        holder.execute("SELECT 1 FROM images WHERE id = %s FOR UPDATE", (image.id,))
        with pytest.raises(Unavailable, match="lock"):
            rows.execute(database, "DELETE FROM images WHERE id = %s", image.id)
    assert LOCK_TIMEOUT_S * 0.9 < time.monotonic() - started_s < LOCK_TIMEOUT_S + 2


def test_retrying_outlasts_a_killed_and_restarted_server(
    fragile_postgres: EmbeddedPostgres,
) -> None:
    database = opened(fragile_postgres, retry_s=15)
    assert select_one(database) == 1
    fragile_postgres.kill()
    restarted = threading.Timer(0.5, lambda: None)  # the server is away for a while
    restarted.start()
    answers: list[int] = []

    def ask() -> None:
        answers.append(database.retrying(lambda cursor: 42 if _one(cursor) else 0))

    asking = threading.Thread(target=ask)
    asking.start()
    restarted.join()
    assert not answers
    fragile_postgres.start()
    fragile_postgres.wait_ready()
    asking.join(timeout=15)
    assert answers == [42]
    database.close()


def _one(cursor: psycopg2.extensions.cursor) -> bool:
    cursor.execute("SELECT 1")
    return cursor.fetchone() == (1,)


def test_retrying_gives_up_in_time(fragile_postgres: EmbeddedPostgres) -> None:
    database = opened(fragile_postgres, retry_s=0.5)
    fragile_postgres.kill()
    started_s = time.monotonic()
    with pytest.raises(Unavailable):
        database.retrying(_one)
    assert time.monotonic() - started_s < 2
    fragile_postgres.start()
    fragile_postgres.wait_ready()
    assert database.retrying(_one)
    database.close()


def test_a_whole_pool_of_dead_connections_costs_nobody_an_error(
    fragile_postgres: EmbeddedPostgres,
) -> None:
    database = opened(fragile_postgres, pool_size=8)
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(database.statement())
    restart(fragile_postgres)
    assert [select_one(database) for _ in range(8)] == [1] * 8
    database.close()


@pytest.mark.parametrize("kind", ["statement", "transaction"])
def test_a_silent_server_is_given_up_within_the_deadline(
    fragile_postgres: EmbeddedPostgres, kind: str
) -> None:
    database = opened(fragile_postgres)
    select_one(database)
    caught: list[Exception] = []

    def ask() -> None:
        block = database.statement if kind == "statement" else database.transaction
        try:
            with block() as cursor:
                cursor.execute("SELECT 1")
        except Unavailable as exc:
            caught.append(exc)

    asking = threading.Thread(target=ask, daemon=True)  # else a deadlock would hold the tests too
    pid = fragile_postgres.pid
    assert pid is not None
    everyone = [pid, *children(pid)]
    for each in everyone:
        os.kill(each, signal.SIGSTOP)
    try:
        asking.start()
        asking.join(timeout=TIMEOUT_S + LOCK_TIMEOUT_S + 2)
        assert len(caught) == 1
    finally:
        for each in everyone:
            os.kill(each, signal.SIGCONT)
    assert select_one(database) == 1
    database.close()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
