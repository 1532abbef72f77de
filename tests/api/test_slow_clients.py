"""7: one byte a second: headers are closed, bodies get 408, and nobody else notices."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import photos
from tests.api import road, wire
from tests.api.conftest import Services
from tests.api.road import Process
from tests.api.wire import END, Wire

pytestmark = pytest.mark.integration

HEADER_TIMEOUT_S = 1.0
BODY_GRACE_S = 1.0
SLOWLY_S = 0.1


@pytest.fixture(scope="module")
def api(services: Services) -> Iterator[Process]:
    process = services.gateway.api(
        GATEWAY_HEADER_TIMEOUT_S=str(HEADER_TIMEOUT_S),
        GATEWAY_BODY_GRACE_S=str(BODY_GRACE_S),
        GATEWAY_BODY_MIN_RATE_BYTES_S="100000",
    )
    with road.up(process):
        yield process


def test_07_slow_headers_are_closed(api: Process) -> None:
    started_s = time.monotonic()
    with Wire(api.address) as connection:
        assert connection.drip(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 500, SLOWLY_S, 10)
        assert connection.status() in {0, 408}
    assert time.monotonic() - started_s < HEADER_TIMEOUT_S + 3


def test_07_silence_is_closed(api: Process) -> None:
    started_s = time.monotonic()
    with Wire(api.address) as connection:
        assert connection.read() == b""
    assert time.monotonic() - started_s < HEADER_TIMEOUT_S + 3


@pytest.mark.parametrize("length", [5_000, None], ids=["with-length", "chunked"])
def test_07_a_slow_body_gets_408(api: Process, length: int | None) -> None:
    started_s = time.monotonic()
    with Wire(api.address) as connection:
        connection.send(wire.upload_head(length))
        body = wire.part(photos.random_bytes())
        dripped = body if length else b"1000\r\n" + body
        assert connection.drip(dripped, SLOWLY_S, 10)
        answer = connection.read()
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"GATEWAY_BODY_GRACE_S" in answer
    assert b"connection: close" in answer.lower()
    assert time.monotonic() - started_s < BODY_GRACE_S + 3


def test_07_others_are_not_affected(api: Process) -> None:
    with ExitStack() as stack:
        for number in range(200):
            slow = stack.enter_context(Wire(api.address))
            slow.send(wire.upload_head(5_000) if number % 2 else b"GET /livez HTTP/1.1\r\nX: ")
        client = stack.enter_context(road.client_of(api))
        started_s = time.monotonic()
        for _ in range(10):
            assert client.get("/livez").status_code == 200
            assert road.upload(client).status_code == 201
        assert time.monotonic() - started_s < 5


def test_a_body_at_a_fair_rate_is_taken(api: Process) -> None:
    body = wire.part(photos.jpeg(900, 900, quality=98)) + END
    with Wire(api.address) as connection:
        connection.send(wire.upload_head(len(body)))
        for at in range(0, len(body), 40_000):
            connection.send(body[at : at + 40_000])
            time.sleep(0.02)
        assert connection.status() == 201
