"""SIGTERM: every process ends with 0, promptly, whoever still waits and whatever is away."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from gateway import images
from gateway.database import Database
from standalone.machine.loopback import loopback
from standalone.parts.postgres import EmbeddedPostgres
from tests.api import road
from tests.api.conftest import Platform, Services
from tests.api.road import NOWHERE, Gateway, Process
from tests.api.wire import Wire
from tests.gateway import rows
from tests.gateway.waits import until

pytestmark = pytest.mark.integration

PROMPTLY_S = 3.0


@pytest.fixture
def api(services: Services) -> Iterator[Process]:
    process = services.gateway.api()
    with road.up(process):
        yield process


def assert_stops(process: Process, within_s: float = PROMPTLY_S) -> None:
    code, took_s = process.terminate()
    assert code == 0
    assert took_s < within_s


def test_an_idle_api_stops(api: Process) -> None:
    assert_stops(api)


def test_idle_connections_do_not_hold_it(api: Process) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(road.client_of(api))
            assert client.get("/livez").status_code == 200
            assert road.upload(client).status_code == 201
        for _ in range(5):
            stack.enter_context(Wire(api.address))
        assert_stops(api)


def test_who_waits_is_answered_and_does_not_hold_it(rows_of: Database, api: Process) -> None:
    answers: list[httpx.Response] = []
    url = f"/api/v1/images/{never_published(rows_of)}"

    def wait() -> None:
        with road.client_of(api) as waiter:
            answers.append(waiter.get(url, params={"wait_s": 30}))

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    with road.client_of(api) as client:
        until(lambda: "\ngateway_waiters 5.0\n" in client.get("/actuator/prometheus").text)
    assert_stops(api)
    for thread in threads:
        thread.join(timeout=5)
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [
        (200, "PENDING")
    ] * 5


def never_published(database: Database) -> int:
    """An image that waits for no relay, and that none has published."""
    with database.transaction() as cursor:
        image = images.insert(cursor, rows.new_image())
        cursor.execute("UPDATE images SET published_at = now() WHERE id = %s", (image.id,))
    return image.id


def test_a_hung_postgres_does_not_hold_it(services: Services) -> None:
    """Goes red where a silent server is waited for without end."""
    api = services.gateway.api(GATEWAY_DATABASE_TIMEOUT_S="0.5", GATEWAY_DATABASE_RETRY_S="0")
    answers: list[int] = []
    with road.up(api), road.client_of(api) as client:

        def ask() -> None:
            answers.append(road.upload(client).status_code)

        def ask_all() -> list[threading.Thread]:
            threads = [threading.Thread(target=ask) for _ in range(6)]
            for thread in threads:
                thread.start()
            return threads

        for thread in ask_all():  # leave some idle connections
            thread.join()
        with stopped(services.postgres):
            asking = ask_all()
            time.sleep(0.3)  # they are on their way
            assert_stops(api, within_s=10)
        for thread in asking:
            thread.join(timeout=5)
    assert sorted(answers) == [201] * 6 + [503] * 6


@contextmanager
def stopped(postgres: EmbeddedPostgres) -> Iterator[None]:
    """All of it: there, and silent."""
    pid = postgres.pid
    assert pid is not None
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    everyone = [pid, *(int(child) for child in children)]
    for each in everyone:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in everyone:
            os.kill(each, signal.SIGCONT)


def test_several_workers_stop(services: Services) -> None:
    process = services.gateway.api(GATEWAY_WORKERS="2")
    with road.up(process), road.client_of(process) as client:
        client.get("/livez")
        assert_stops(process, PROMPTLY_S + 1)


Starter = Callable[[Gateway], Process]


@pytest.mark.parametrize(
    ("start", "within_s"),
    [
        (lambda gateway: gateway.background("relay"), 8),
        (lambda gateway: gateway.background("writer"), 8),
        (lambda gateway: gateway.api(), PROMPTLY_S),
    ],
    ids=["relay", "writer", "api"],
)
def test_with_everything_away_each_starts_lives_and_stops(
    tmp_path: Path, start: Starter, within_s: float
) -> None:
    where = road.settings_for(
        f"postgresql://nobody@{NOWHERE}/none", f"redis://{NOWHERE}/0", NOWHERE, NOWHERE
    )
    process = start(Gateway(tmp_path, where))
    with road.up(process):
        if "api" in process.name:
            with road.client_of(process) as client:
                answer = road.upload(client)
                road.problem_of(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
                report = client.get("/readyz")
                assert report.status_code == 503
                assert all(said != "ok" for said in report.json()["checks"].values())
        assert_stops(process, within_s)


def test_migrating_without_services_stops_when_told(tmp_path: Path) -> None:
    where = road.settings_for(
        f"postgresql://nobody@{NOWHERE}/none", f"redis://{NOWHERE}/0", NOWHERE, NOWHERE
    )
    gateway = Gateway(tmp_path, where)
    command = gateway.step("migrate")
    process = Process(tmp_path, ["gateway", "migrate"], command.environment, loopback(1))
    process.start()
    until(lambda: process.log_path.exists() and process.logged("will retry"))
    assert_stops(process)


def test_the_platforms_own_processes_stop(platform: Platform) -> None:
    for process in (platform.relay, platform.writer):
        try:
            assert_stops(process, within_s=6)
        finally:
            process.start()
            process.wait_ready()
