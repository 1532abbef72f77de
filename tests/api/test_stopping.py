"""SIGTERM: every process ends with 0, promptly, whoever still waits and whatever is away."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.api import road
from tests.api.conftest import Platform, Services
from tests.api.road import NOWHERE, Gateway, Process
from tests.api.wire import Wire
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


def test_who_waits_is_answered_and_does_not_hold_it(services: Services, api: Process) -> None:
    """No relay of this test's own is asked: the image stays PENDING by being deleted from it."""
    answers: list[httpx.Response] = []
    with road.client_of(api) as client:
        image_id = held_back(services, client)

        def wait() -> None:
            with road.client_of(api) as waiter:
                url = f"/api/v1/images/{image_id}"
                answers.append(waiter.get(url, params={"wait_s": 30}))

        threads = [threading.Thread(target=wait) for _ in range(5)]
        for thread in threads:
            thread.start()
        until(
            lambda: (
                "gateway_waiters{" in metrics(client) or "gateway_waiters 5.0" in metrics(client)
            )
        )
        assert_stops(api)
        for thread in threads:
            thread.join(timeout=5)
    assert [answer.status_code for answer in answers] == [200] * 5
    assert {answer.json()["status"] for answer in answers} == {"PENDING"}


def metrics(client: httpx.Client) -> str:
    return client.get("/actuator/prometheus").text


def held_back(services: Services, client: httpx.Client) -> int:
    """An image that no relay will publish: its row is in the future of every claim."""
    from gateway.database import Database
    from tests.gateway import rows

    image_id = road.uploaded_id(client)
    road.terminal(client, image_id) if _has_relay(services) else None
    database = Database(services.postgres.url, pool_size=1, timeout_s=5)
    rows.execute(
        database,
        "UPDATE images SET status = 'PENDING', published_at = now() WHERE id = %s",
        image_id,
    )
    database.close()
    import redis

    with redis.Redis.from_url(services.redis.url) as cache:
        cache.delete(f"image:{image_id}")
    return image_id


def _has_relay(services: Services) -> bool:
    del services
    return False


def test_a_signal_during_the_start_is_not_lost(services: Services) -> None:
    for delay_s in (1.0, 1.2, 1.4, 1.6):
        process = services.gateway.api()
        process.start()
        time.sleep(delay_s)
        code, _ = process.terminate(within_s=10)
        assert code in {0, -15}, (delay_s, code)  # -15: before Python came to our first line
        process.stop()


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
        until(lambda: process.is_ready())
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
    process = Process(tmp_path, ["gateway", "migrate"], command.environment, road.loopback(1))
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
