"""Replay on the whole road: what was mended is labelled after all, by one command."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import photos
from tests.api import road
from tests.api.conftest import Platform, Services
from tests.api.road import Process

pytestmark = pytest.mark.integration

TIMEOUT_S = 30.0


@contextmanager
def halted(process: Process) -> Iterator[None]:
    """Too short for its consumer group to notice."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def replay(services: Services, *arguments: str) -> tuple[int, list[list[str]]]:
    """The exit code of the command, and the words of each line it said."""
    command = services.gateway.step("replay", *arguments)
    done = subprocess.run(
        command.arguments,
        env={**os.environ, **command.environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    lines = [line.split() for line in done.stdout.splitlines() if not line.startswith("{")]
    return done.returncode, lines


def test_an_image_whose_object_was_missing_is_labelled_once_it_is_back(
    client: httpx.Client, platform: Platform, tmp_path: Path
) -> None:
    services = platform.services
    with halted(platform.dispatcher):
        accepted = road.upload(client).json()
        stored = services.gateway.objects / "images" / accepted["imageUrl"].rpartition("/")[2]
        stored.rename(tmp_path / "away")
    image = road.terminal(client, accepted["id"])
    assert image["status"] == "FAILED"
    chosen = ["--id", str(accepted["id"])]
    expected = [["1", "object_not_found"], ["1", "would", "be", "replayed"]]
    assert replay(services, *chosen, "--dry-run") == (0, expected)
    assert client.get(f"/api/v1/images/{accepted['id']}").json() == image
    (tmp_path / "away").rename(stored)
    code, said = replay(services, *chosen, "--reason", "object_not_found")
    assert (code, said[-1]) == (0, ["1", "replayed"])
    mended = road.terminal(client, accepted["id"])
    assert mended["status"] == "COMPLETED"
    assert "failureReason" not in mended
    assert replay(services, *chosen) == (0, [["0", "to", "be", "replayed"]])
    assert client.get(f"/api/v1/images/{accepted['id']}").json() == mended


def test_an_image_that_is_beyond_hope_fails_again(client: httpx.Client, platform: Platform) -> None:
    good = photos.jpeg(200, 200)
    scan = good.index(b"\xff\xda")
    image_id = road.uploaded_id(client, good[: scan + 40] + good[-2:])
    before = road.terminal(client, image_id)
    assert before["status"] == "FAILED"
    assert replay(platform.services, "--id", str(image_id))[0] == 0
    after = road.terminal(client, image_id)
    assert after["status"] == "FAILED"
    assert after["failureReason"] == before["failureReason"]
    assert after["updatedAt"] > before["updatedAt"]
