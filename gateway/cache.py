"""The Redis cache of image resources: cache-aside, never needed for correctness.

Every key is built here. Three rules keep a slow process from bringing back old news:
readers fill with NX, so they cannot replace what a writer put there; of two writers the one whose
row is newer wins, in whichever order they come; and a deletion leaves a tombstone, which neither
readers nor writers replace.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

log = structlog.get_logger(__name__)

TERMINAL_TTL_S = 3_600
CHANGING_TTL_S = 2
TOMBSTONE_TTL_S = 60
# After a fault Redis is left alone this long, so that a hung one does not slow every request.
COOL_DOWN_S = 1.0

TOMBSTONE = b"deleted"
# Times of a resource are all of one length in UTC, so the later one is the greater text.
_PUT_IF_NEWER = """
local there = redis.call('GET', KEYS[1])
if there == 'deleted' then return 0 end
local updated = '"updatedAt":"([^"]*)"'
local old, new = string.match(there or '', updated), string.match(ARGV[1], updated)
if old and new and old > new then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


@dataclass(frozen=True)
class Found:
    """What the cache knows of an image: its resource as JSON, or that it was deleted (None)."""

    resource: bytes | None


class Cache:
    """Redis behind `image:{id}`; each method is a no-op or a miss while Redis is faulty."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._put = client.register_script(_PUT_IF_NEWER)
        self._faulty_until_s = 0.0

    def get(self, image_id: int) -> Found | None:
        """None is a miss."""
        value = self._guarded(lambda: self._redis.get(_key(image_id)))
        if not isinstance(value, bytes):
            return None
        return Found(None if value == TOMBSTONE else value)

    def fill(self, image_id: int, resource: bytes, *, terminal: bool) -> None:
        """A reader's fill after a miss."""
        ttl_s = TERMINAL_TTL_S if terminal else CHANGING_TTL_S
        self._guarded(lambda: self._redis.set(_key(image_id), resource, ex=ttl_s, nx=True))

    def put_terminal(self, resources: Mapping[int, bytes]) -> None:
        """A change that is committed; it replaces whatever is not newer."""
        if resources:
            self._guarded(lambda: self._put_all(resources))

    def forget(self, image_id: int) -> None:
        """The image is deleted: readers shall see that, late writers shall not undo it."""
        self._guarded(lambda: self._redis.set(_key(image_id), TOMBSTONE, ex=TOMBSTONE_TTL_S))

    def drop(self, image_ids: Sequence[int]) -> None:
        """The images changed: readers shall look at Postgres."""
        self._guarded(lambda: self._redis.delete(*map(_key, image_ids)))

    def close(self) -> None:
        self._redis.close()

    def _put_all(self, resources: Mapping[int, bytes]) -> None:
        with self._redis.pipeline(transaction=False) as pipeline:
            for image_id, resource in resources.items():
                self._put(keys=[_key(image_id)], args=[resource, TERMINAL_TTL_S], client=pipeline)
            pipeline.execute()

    def _guarded(self, call: Callable[[], object]) -> object:
        if time.monotonic() < self._faulty_until_s:
            return None
        try:
            return call()
        except redis.RedisError as exc:
            self._faulty_until_s = time.monotonic() + COOL_DOWN_S
            log.warning("redis is faulty", action="cache", error=str(exc))
            return None


def connect(url: str, timeout_s: float) -> Cache:
    """A cache over a pool of connections that are opened when first used."""
    client = redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), retries=1),  # a connection that Redis closed while idle
        health_check_interval=0,
    )
    return Cache(client)


def _key(image_id: int) -> str:
    return f"image:{image_id}"
