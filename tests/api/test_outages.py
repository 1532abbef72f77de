"""Each dependency away for a while: uploads go on where they can, nothing acknowledged is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from standalone.processes.part import Part
from tests.api import road
from tests.api.conftest import Platform, Services
from tests.gateway.waits import until

pytestmark = pytest.mark.integration

DRAINED_WITHIN_S = 60.0


@contextmanager
def away(part: Part) -> Iterator[None]:
    """Killed, and back at the end whatever happens."""
    part.kill()
    try:
        yield
    finally:
        part.start()
        part.wait_ready()


@pytest.fixture(autouse=True)
def _road_is_open(client: httpx.Client) -> None:
    until(lambda: client.get("/readyz").status_code == 200, within_s=60)


def assert_completed(client: httpx.Client, image_ids: list[int]) -> None:
    for image_id in image_ids:
        image = road.terminal(client, image_id, within_s=DRAINED_WITHIN_S)
        assert image["status"] == "COMPLETED"


def test_without_redis_nobody_gets_an_error(client: httpx.Client, services: Services) -> None:
    with away(services.redis):
        image_ids = [road.uploaded_id(client) for _ in range(10)]
        assert_completed(client, image_ids)
        for image_id in image_ids:
            assert client.get(f"/api/v1/images/{image_id}").status_code == 200
    assert client.delete(f"/api/v1/images/{image_ids[0]}").status_code == 204


def test_without_kafka_uploads_are_taken_and_later_labelled(
    client: httpx.Client, services: Services
) -> None:
    with away(services.kafka):
        image_ids = [road.uploaded_id(client) for _ in range(10)]
        assert client.get(f"/api/v1/images/{image_ids[0]}").json()["status"] in {
            "PENDING", "PROCESSING",
        }  # fmt: skip
    assert_completed(client, image_ids)


def test_without_postgres_the_answer_is_503_and_when_to_come_back(
    client: httpx.Client, services: Services
) -> None:
    image_id = road.uploaded_id(client)
    assert_completed(client, [image_id])
    stored = services.gateway.stored()
    with away(services.postgres):
        for answer in (
            road.upload(client),
            client.get("/api/v1/images"),
            client.get(f"/api/v1/images/{image_id}/content"),
            client.delete(f"/api/v1/images/{image_id}"),
        ):
            road.problem_of(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
        assert client.get(f"/api/v1/images/{image_id}").status_code == 200  # it was cached
        report = client.get("/readyz")
        assert report.status_code == 503
        assert "ok" not in report.json()["checks"]["outbox"]
    assert len(services.gateway.stored() - stored) <= 1  # its commit's outcome was not known
    assert_completed(client, [road.uploaded_id(client)])


def test_a_short_restart_of_postgres_costs_no_upload(
    client: httpx.Client, services: Services
) -> None:
    road.uploaded_id(client)
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def keep_uploading() -> None:
        with httpx.Client(base_url=client.base_url, timeout=40, trust_env=False) as own:
            while not stop.is_set():
                answers.append(road.upload(own))

    threads = [threading.Thread(target=keep_uploading) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(answers) >= 5)
    with away(services.postgres):
        time.sleep(0.3)
    behind_the_restart = len(answers) + 5
    until(lambda: len(answers) >= behind_the_restart)
    stop.set()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    image_ids = [answer.json()["id"] for answer in answers]
    assert len(set(image_ids)) == len(image_ids)
    assert_completed(client, image_ids)


Killed = Callable[[Platform], Part]


@pytest.mark.parametrize(
    "killed",
    [
        lambda platform: platform.relay,
        lambda platform: platform.writer,
        lambda platform: platform.dispatcher,
        lambda platform: platform.api,
    ],
    ids=["relay", "writer", "dispatcher", "api"],
)
def test_a_killed_process_costs_nothing(
    client: httpx.Client, platform: Platform, killed: Killed
) -> None:
    image_ids = [road.uploaded_id(client) for _ in range(15)]
    with away(killed(platform)):
        if killed(platform) is not platform.api:
            image_ids += [road.uploaded_id(client) for _ in range(5)]
    assert_completed(client, image_ids)


def test_processes_that_started_before_their_services_recover(services: Services) -> None:
    gateway = services.gateway
    api, relay, writer = gateway.api(), gateway.background("relay"), gateway.background("writer")
    services.postgres.kill()
    services.redis.kill()
    with road.up(api, relay, writer), road.client_of(api) as client:
        try:
            road.problem_of(road.upload(client), 503)
        finally:
            services.postgres.start()
            services.redis.start()
            services.postgres.wait_ready()
            services.redis.wait_ready()
        until(lambda: road.upload(client).status_code == 201, within_s=15)
        assert_completed(client, [road.uploaded_id(client)])
        assert (api.exit_code(), relay.exit_code(), writer.exit_code()) == (None, None, None)
