"""Notifications: ids travel from the writer to whoever waits, over restarts of Postgres too."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from gateway import notifications
from gateway.database import Database
from gateway.notifications import (
    SUBMITTED,
    TERMINAL,
    Doorbell,
    Listener,
    TerminalListener,
    announce_terminal,
    parse_ids,
)
from runtime.errors import Retryable
from runtime.lifecycle import Lifecycle
from standalone.machine.ports import free_port
from standalone.parts.postgres import EmbeddedPostgres
from tests.conftest import running
from tests.gateway.waits import until


@pytest.mark.parametrize(
    ("payloads", "ids"),
    [
        ([], []),
        ([""], []),
        (["1"], [1]),
        (["1,2", "3"], [1, 2, 3]),
        (["9223372036854775807"], [2**63 - 1]),
        (["1,,2", "x", "-4", "1.5", " 7", "8,drop"], [1, 2, 8]),
    ],
)
def test_ids_are_read_and_rubbish_passed_over(payloads: list[str], ids: list[int]) -> None:
    assert parse_ids(payloads) == ids


@pytest.mark.parametrize("count", [0, 1, 2, 1_000, 5_000])
def test_payloads_hold_every_id_and_fit(count: int) -> None:
    ids = list(range(2**62, 2**62 + count))
    payloads = list(notifications._payloads(ids))
    assert parse_ids(payloads) == ids
    assert all(0 < len(payload.encode()) < 8_000 for payload in payloads)
    assert len(payloads) <= 1 + count * 20 // notifications.MAX_PAYLOAD_BYTES


class _DyingConnection:
    """Postgres goes away between the connection and its LISTEN."""

    closed = False
    autocommit = False
    notifies: tuple[()] = ()

    def cursor(self) -> Any:
        raise psycopg2.OperationalError("server closed the connection")

    def close(self) -> None:
        self.closed = True


class _DyingDatabase(Database):
    def __init__(self) -> None:
        self.connections: list[_DyingConnection] = []

    def connect(self) -> Any:
        self.connections.append(_DyingConnection())
        return self.connections[-1]


def test_a_postgres_that_dies_at_once_is_retryable() -> None:
    database = _DyingDatabase()
    listener = Listener(database, TERMINAL)
    for _ in range(2):
        with pytest.raises(Retryable):
            listener.wait(0)
    assert [connection.closed for connection in database.connections] == [True, True]


@pytest.mark.integration
def test_silence_ends_in_time(database: Database) -> None:
    listener = Listener(database, SUBMITTED)
    started_s = time.monotonic()
    assert listener.wait(0.1) == []
    assert 0.1 <= time.monotonic() - started_s < 1
    listener.close()


@pytest.mark.integration
def test_what_is_announced_is_heard_on_its_channel_only(database: Database) -> None:
    terminal, submitted = Listener(database, TERMINAL), Listener(database, SUBMITTED)
    assert terminal.wait(0) == submitted.wait(0) == []
    announce_terminal(database, range(1, 4_001))
    heard: list[int] = []

    def hear() -> bool:
        heard.extend(parse_ids(terminal.wait(1)))
        return len(heard) == 4_000

    until(hear)
    assert heard == list(range(1, 4_001))
    assert submitted.wait(0) == []
    terminal.close()
    submitted.close()


@pytest.mark.integration
def test_many_rings_are_few_notifications(database: Database) -> None:
    listener, lifecycle = Listener(database, SUBMITTED), Lifecycle()
    listener.wait(0)
    doorbell = Doorbell(database, lifecycle)
    for _ in range(500):
        doorbell.ring()
    doorbell.start()
    assert until(lambda: listener.wait(1)) == [""]
    assert listener.wait(0.1) == []
    doorbell.ring()
    assert until(lambda: listener.wait(1)) == [""]
    lifecycle.stop()
    listener.close()


@pytest.mark.integration
def test_nobody_to_tell_is_no_error() -> None:
    announce_terminal(Database("postgresql://nobody@127.0.0.1:1/none", 1, 1.0), [1])


class _Payloads(Listener):
    """Hands out what a test prepared, and raises what is an error."""

    def __init__(self, turns: list[list[str] | Exception]) -> None:
        self._turns = turns
        self.is_closed = False

    def wait(self, timeout_s: float) -> list[str]:
        turn = self._turns.pop(0) if self._turns else []
        if isinstance(turn, Exception):
            raise turn
        return turn

    def close(self) -> None:
        self.is_closed = True


def test_the_terminal_listener_outlives_what_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle, heard = Lifecycle(), []
    monkeypatch.setattr(lifecycle, "sleep", lambda _seconds: None)

    def hear(ids: list[int]) -> None:
        if ids == [2]:
            raise ZeroDivisionError
        heard.append(ids)
        if ids == [4]:
            lifecycle.stop()

    turns: list[list[str] | Exception] = [
        ["1"],
        ["2"],
        Retryable("away"),
        ["3"],
        UnicodeDecodeError("utf-8", b"", 0, 0, ""),
    ]
    listener = _Payloads([*turns, ["4"]])
    terminal = TerminalListener(listener, lifecycle, hear)
    terminal.start()
    terminal._thread.join(timeout=5)
    assert heard == [[1], [3], [4]]
    assert listener.is_closed


class _FaultyDatabase(Database):
    def __init__(self) -> None:
        self.asked = threading.Event()

    def statement(self) -> Any:
        self.asked.set()
        raise ZeroDivisionError


def test_the_doorbell_outlives_what_it_meets() -> None:
    database, lifecycle = _FaultyDatabase(), Lifecycle()
    doorbell = Doorbell(database, lifecycle)
    doorbell.start()
    for _ in range(2):
        doorbell.ring()
        assert database.asked.wait(timeout=5)
        database.asked.clear()
    lifecycle.stop()
    doorbell._thread.join(timeout=5)
    assert not doorbell._thread.is_alive()


@pytest.fixture
def fragile_postgres(tmp_path: Any) -> Iterator[EmbeddedPostgres]:
    for part in running(EmbeddedPostgres(tmp_path, free_port())):
        assert isinstance(part, EmbeddedPostgres)
        yield part


@pytest.mark.integration
def test_the_listener_is_back_after_a_restart(fragile_postgres: EmbeddedPostgres) -> None:
    database = Database(fragile_postgres.url, pool_size=2, timeout_s=2)
    heard: list[int] = []
    lifecycle, news = Lifecycle(), threading.Event()

    def hear(ids: list[int]) -> None:
        heard.extend(ids)
        news.set()

    listener = TerminalListener(Listener(database, TERMINAL), lifecycle, hear)
    listener.start()

    def announced(image_id: int) -> bool:
        announce_terminal(database, [image_id])
        return news.wait(0.2)

    until(lambda: announced(1))
    fragile_postgres.kill()
    fragile_postgres.start()
    fragile_postgres.wait_ready()
    news.clear()
    until(lambda: announced(2))
    assert set(heard) == {1, 2}
    lifecycle.stop()
    listener._thread.join(timeout=5)
    assert not listener._thread.is_alive()
    database.close()
