"""Cache: old news never replaces new, and a faulty Redis is a miss that costs next to nothing."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
import redis

from gateway import cache as cache_module
from gateway.cache import CHANGING_TTL_S, TERMINAL_TTL_S, TOMBSTONE_TTL_S, Cache, Found
from standalone.machine.ports import free_port
from standalone.parts.redis import RedisServer
from tests.conftest import running

pytestmark = pytest.mark.integration

OLD, NEW = b'{"status":"PENDING"}', b'{"status":"COMPLETED"}'
TIMEOUT_S = 0.2
COOL_DOWN_S = 0.3


@pytest.fixture
def cache(redis_url: str) -> Iterator[Cache]:
    connected = cache_module.connect(redis_url, TIMEOUT_S)
    yield connected
    connected.close()


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_what_is_not_there_is_a_miss(cache: Cache) -> None:
    assert cache.get(1) is None


def test_the_key_is_the_promised_one(cache: Cache, server: redis.Redis) -> None:
    cache.fill(7, OLD, terminal=False)
    assert server.keys() == [b"image:7"]
    assert server.get("image:7") == OLD


@pytest.mark.parametrize(("terminal", "ttl_s"), [(False, CHANGING_TTL_S), (True, TERMINAL_TTL_S)])
def test_entries_live_as_long_as_they_are_true(
    cache: Cache, server: redis.Redis, terminal: bool, ttl_s: int
) -> None:
    cache.fill(1, OLD, terminal=terminal)
    assert server.ttl("image:1") == pytest.approx(ttl_s, abs=1)


def test_times_to_live_are_as_promised(cache: Cache, server: redis.Redis) -> None:
    assert TERMINAL_TTL_S == 3_600
    cache.put_terminal({1: NEW, 2: NEW})
    cache.forget(3)
    assert server.ttl("image:1") == pytest.approx(TERMINAL_TTL_S, abs=1)
    assert server.ttl("image:3") == pytest.approx(TOMBSTONE_TTL_S, abs=1)


def test_a_slow_reader_cannot_put_old_news_over_new(cache: Cache) -> None:
    cache.put_terminal({1: NEW})
    cache.fill(1, OLD, terminal=False)
    assert cache.get(1) == Found(NEW)


def test_the_writer_replaces_what_a_reader_filled(cache: Cache, server: redis.Redis) -> None:
    cache.fill(1, OLD, terminal=False)
    cache.put_terminal({1: NEW})
    assert cache.get(1) == Found(NEW)
    assert server.ttl("image:1") > CHANGING_TTL_S


def updated(moment: str, **fields: str) -> bytes:
    return json.dumps({**fields, "updatedAt": f"2026-01-01T12:00:00.{moment}"},
                      separators=(",", ":")).encode()  # fmt: skip


@pytest.mark.parametrize("order", [["100", "101"], ["101", "100"], ["101", "101", "100", "101"]])
def test_of_two_changes_the_newer_stays_whichever_comes_last(
    cache: Cache, order: list[str]
) -> None:
    """Goes red where the slower of two writers brings back old labels for an hour."""
    for moment in order:
        cache.put_terminal({1: updated(moment)})
    assert cache.get(1) == Found(updated("101"))


def test_of_the_same_moment_the_last_stays(cache: Cache) -> None:
    cache.put_terminal({1: updated("100")})
    cache.put_terminal({1: updated("100", of="replay")})
    assert cache.get(1) == Found(updated("100", of="replay"))


def test_a_label_that_looks_like_a_time_is_none(cache: Cache) -> None:
    inner = json.dumps({"class": '"updatedAt":"9999'})
    cache.put_terminal({1: updated("100", classificationResult=inner)})
    cache.put_terminal({1: updated("101")})
    assert cache.get(1) == Found(updated("101"))


def test_neither_a_late_writer_nor_a_late_reader_undoes_a_deletion(cache: Cache) -> None:
    cache.put_terminal({1: NEW})
    cache.forget(1)
    cache.put_terminal({1: NEW, 2: NEW})
    cache.fill(1, OLD, terminal=False)
    assert cache.get(1) == Found(None)
    assert cache.get(2) == Found(NEW)


def test_nothing_to_put_asks_nothing() -> None:
    cache_module.connect("redis://127.0.0.1:1/0", TIMEOUT_S).put_terminal({})


@pytest.fixture(scope="module")
def fragile_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that this module may kill and stop."""
    part = RedisServer(tmp_path_factory.mktemp("fragile-redis"), free_port())
    for _ in running(part):
        yield part


@pytest.fixture
def fragile(fragile_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    monkeypatch.setattr(cache_module, "COOL_DOWN_S", COOL_DOWN_S)
    connected = cache_module.connect(fragile_redis.url, TIMEOUT_S)
    connected.put_terminal({1: NEW})
    yield connected
    connected.close()


def use_everything(cache: Cache) -> None:
    assert cache.get(1) is None
    cache.fill(2, OLD, terminal=False)
    cache.put_terminal({3: NEW})
    cache.forget(4)


def test_a_dead_redis_is_a_miss_and_comes_back(fragile_redis: RedisServer, fragile: Cache) -> None:
    assert fragile.get(1) == Found(NEW)
    fragile_redis.kill()
    use_everything(fragile)
    fragile_redis.start()
    fragile_redis.wait_ready()
    time.sleep(COOL_DOWN_S)
    fragile.put_terminal({1: NEW})  # its script is unknown to the new server
    assert fragile.get(1) == Found(NEW)


def test_a_restart_between_two_requests_goes_unnoticed(
    fragile_redis: RedisServer, fragile: Cache
) -> None:
    fragile_redis.kill()
    fragile_redis.start()
    fragile_redis.wait_ready()
    fragile.fill(5, NEW, terminal=True)
    assert fragile.get(5) == Found(NEW)


def test_a_hung_redis_slows_one_request_not_all(fragile_redis: RedisServer, fragile: Cache) -> None:
    pid = fragile_redis.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        started_s = time.monotonic()
        use_everything(fragile)
        first_s = time.monotonic() - started_s
        assert TIMEOUT_S <= first_s < 4 * TIMEOUT_S
        started_s = time.monotonic()
        use_everything(fragile)
        assert time.monotonic() - started_s < TIMEOUT_S / 2  # it is left alone for a while
        time.sleep(COOL_DOWN_S)
        started_s = time.monotonic()
        assert fragile.get(1) is None  # and asked again afterwards
        assert time.monotonic() - started_s >= TIMEOUT_S
    finally:
        os.kill(pid, signal.SIGCONT)
    time.sleep(COOL_DOWN_S)
    assert fragile.get(1) == Found(NEW)
