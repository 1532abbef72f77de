"""What several of the gateway's tests need beside the real services."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import cache as cache_module
from gateway.cache import Cache
from runtime.objects import ObjectStore


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore((tmp_path / "objects").as_uri())


@pytest.fixture
def cache(redis_url: str) -> Iterator[Cache]:
    connected = cache_module.connect(redis_url, 1.0)
    yield connected
    connected.close()
