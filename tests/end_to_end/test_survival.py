"""Processes are killed under load: every acknowledged upload ends COMPLETED, once."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from standalone.wheels.unpacked import PHOTOS
from tests.end_to_end.whole_platform import Platform

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(400)]

UPLOADERS = 8
EVERY_PROCESS = (
    "gateway-api", "gateway-relay", "gateway-writer", "dispatcher-0",
    "triton", "kafka", "postgres", "redis",
)  # fmt: skip


def upload_while(platform: Platform, count: int, disturb: Callable[[], None]) -> list[int]:
    """Upload `count` photos while `disturb` runs beside; returns the acknowledged ids."""
    photo = (PHOTOS / "rocket.jpg").read_bytes()
    disturber = threading.Thread(target=disturb)
    with platform.client() as client, ThreadPoolExecutor(UPLOADERS) as uploaders:
        disturber.start()
        ids = list(uploaders.map(lambda _: platform.upload(client, photo), range(count)))
        disturber.join()
    return ids


def ids_since(client: httpx.Client, first_id: int) -> list[int]:
    """Ids of all rows from `first_id` on, page by page."""
    ids: list[int] = []
    cursor = None
    while True:
        page = client.get("/api/v1/images", params={"limit": 200, **(cursor or {})}).json()
        ids += [item["id"] for item in page["items"] if item["id"] >= first_id]
        if page["nextCursor"] is None or page["items"][-1]["id"] < first_id:
            return ids
        cursor = {"cursor": page["nextCursor"]}


def assert_all_completed_once(platform: Platform, acknowledged: list[int]) -> None:
    with platform.client() as client:
        images = [platform.terminal(client, image_id) for image_id in acknowledged]
        rows = ids_since(client, min(acknowledged))
    assert [image["failureReason"] for image in images if image["status"] == "FAILED"] == []
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= set(rows)
    assert len(set(rows)) == len(rows)


def test_dispatcher_relay_and_writer_are_killed_in_mid_flight(platform: Platform) -> None:
    def kill_three() -> None:
        for name in ("dispatcher-0", "gateway-relay", "gateway-writer"):
            time.sleep(0.4)
            platform.kill(name)

    acknowledged = upload_while(platform, 200, kill_three)

    assert len(acknowledged) == 200
    assert_all_completed_once(platform, acknowledged)


def test_every_process_is_killed_in_turn(platform: Platform) -> None:
    before = {name: row["restarts"] for name, row in platform.processes().items()}

    def kill_each() -> None:
        for name in EVERY_PROCESS:
            platform.kill(name)
            time.sleep(1.5)

    acknowledged = upload_while(platform, 150, kill_each)

    assert_all_completed_once(platform, acknowledged)
    after = {name: row["restarts"] for name, row in platform.processes().items()}
    assert all(after[name] > before[name] for name in EVERY_PROCESS)
    assert "died (killed by SIGKILL)" in platform.output
