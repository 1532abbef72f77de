"""One platform for all end-to-end tests of the session, on Apache Kafka where it can run."""

from collections.abc import Iterator

import httpx
import pytest

from standalone.parts import kafka_jars
from tests.conftest import IN_CI, unavailable
from tests.end_to_end.whole_platform import Platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if IN_CI and kafka_jars.why_not():
        unavailable(str(kafka_jars.why_not()))
    platform = Platform(tmp_path_factory.mktemp("platform") / "data")
    platform.start()
    yield platform
    platform.stop()


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx.Client]:
    with platform.client() as client:
        yield client
