"""Lookup: Redis first, then Postgres, then fill; a deletion is believed at once."""

import pytest
import redis
from prometheus_client import REGISTRY

from gateway import cache as cache_module
from gateway import images, resource
from gateway.cache import Cache, Found
from gateway.database import Database
from gateway.deletion import Deletion
from gateway.images import Status
from gateway.lookup import Lookup
from runtime.errors import Unavailable
from runtime.objects import ObjectStore
from tests.gateway import rows

pytestmark = pytest.mark.integration

BASE = "http://cdn/images"


@pytest.fixture
def lookup(database: Database, cache: Cache) -> Lookup:
    return Lookup(database, cache, BASE)


def asked(result: str) -> float:
    labels = {"result": result}
    return REGISTRY.get_sample_value("image_cache_requests_total", labels) or 0.0


def test_the_first_read_misses_and_fills_the_second_hits(
    database: Database, lookup: Lookup, cache: Cache
) -> None:
    image = rows.insert(database)
    hits, misses = asked("hit"), asked("miss")
    expected = resource.to_json(image, BASE)
    assert lookup.get(image.id) == expected
    assert cache.get(image.id) == Found(expected)
    rows.execute(database, "DELETE FROM images")  # what follows cannot come from Postgres
    assert lookup.get(image.id) == expected
    assert (asked("hit") - hits, asked("miss") - misses) == (1, 1)


def test_what_the_writer_cached_is_answered_without_postgres(cache: Cache) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", pool_size=1, timeout_s=1)
    cache.put_terminal({5: b"{}"})
    assert Lookup(nowhere, cache, BASE).get(5) == b"{}"
    with pytest.raises(Unavailable):
        Lookup(nowhere, cache, BASE).get(6)


def test_an_image_nobody_has_is_none_and_not_cached(lookup: Lookup, cache: Cache) -> None:
    assert lookup.get(404) is None
    assert cache.get(404) is None


def test_without_redis_every_answer_comes_from_postgres(database: Database) -> None:
    image = rows.insert(database)
    without = Lookup(database, cache_module.connect("redis://127.0.0.1:1/0", 0.1), BASE)
    assert without.get(image.id) == resource.to_json(image, BASE)
    assert without.get(image.id + 1) is None


def test_a_deleted_image_is_gone_everywhere(
    database: Database, lookup: Lookup, cache: Cache, objects: ObjectStore
) -> None:
    image = rows.insert(database)
    objects.put(image.s3_key, b"pixels")
    assert lookup.get(image.id)
    deletion = Deletion(database, cache, objects)
    assert deletion.delete(image.id) is True
    assert lookup.get(image.id) is None
    assert not objects_in(objects, image.s3_key)
    assert deletion.delete(image.id) is False


def test_a_late_result_does_not_bring_a_deleted_image_back(
    database: Database, lookup: Lookup, cache: Cache, objects: ObjectStore
) -> None:
    image = rows.insert(database)
    Deletion(database, cache, objects).delete(image.id)
    with database.transaction() as cursor:
        assert images.complete(cursor, [rows.classified(image.id)]) == []
    cache.put_terminal({image.id: b"late"})
    assert lookup.get(image.id) is None


def test_a_terminal_image_is_cached_for_long(
    database: Database, lookup: Lookup, redis_url: str
) -> None:
    image = rows.insert(database)
    with database.transaction() as cursor:
        images.complete(cursor, [rows.classified(image.id)])
    assert Status.COMPLETED.value.encode() in (lookup.get(image.id) or b"")
    client = redis.Redis.from_url(redis_url)
    assert client.ttl(f"image:{image.id}") > cache_module.CHANGING_TTL_S
    client.close()


def objects_in(objects: ObjectStore, key: str) -> bool:
    try:
        return bool(objects.get(key))
    except Exception:
        return False
