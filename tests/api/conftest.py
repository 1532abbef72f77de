"""The whole road as processes on services of its own, which tests may kill and restore."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.database import Database
from standalone.machine.ports import free_port
from standalone.parts import kafka_jars
from standalone.parts.kafka import ApacheKafka, Kafka, TansuKafka
from standalone.parts.postgres import EmbeddedPostgres
from standalone.parts.redis import RedisServer
from standalone.parts.triton_server import TritonServer
from standalone.processes.steps import Steps
from tests.api import road
from tests.api.road import Gateway, Process
from tests.conftest import running

STEP_TIMEOUT_S = 60.0


@dataclass
class Services:
    """What the platform stands on."""

    postgres: EmbeddedPostgres
    redis: RedisServer
    kafka: Kafka
    triton: TritonServer
    gateway: Gateway


@dataclass
class Platform:
    """The platform with its own processes running."""

    services: Services
    api: Process
    relay: Process
    writer: Process
    dispatcher: Process


@pytest.fixture(scope="session")
def services(
    tmp_path_factory: pytest.TempPathFactory, triton: TritonServer, starter_model: Path
) -> Iterator[Services]:
    """Migrated, with the starter registered; Apache Kafka where it can run."""
    folder = tmp_path_factory.mktemp("platform")
    broker: Kafka = TansuKafka(folder, free_port())
    if not kafka_jars.why_not():
        broker = ApacheKafka(folder, free_port(), controller_port=free_port())
    postgres, cache = EmbeddedPostgres(folder, free_port()), RedisServer(folder, free_port())
    for _ in running(broker):
        for _ in running(postgres):
            for _ in running(cache):
                where = road.settings_for(
                    postgres.url, cache.url, broker.bootstrap_servers, str(triton.address)
                )
                gateway = Gateway(folder, where)
                steps = Steps(folder)
                steps.run(gateway.step("migrate"), STEP_TIMEOUT_S)
                register = gateway.step("register-model", str(starter_model))
                steps.run(register, STEP_TIMEOUT_S)
                yield Services(postgres, cache, broker, triton, gateway)


@pytest.fixture(scope="session")
def platform(services: Services) -> Iterator[Platform]:
    gateway = services.gateway
    made = Platform(
        services,
        gateway.api(GATEWAY_READINESS_CACHE_S="0.2", GATEWAY_DATABASE_RETRY_S="4"),
        gateway.background("relay", GATEWAY_SWEEP_INTERVAL_S="0.5", GATEWAY_SWEEP_DEADLINE_S="3"),
        gateway.background("writer"),
        gateway.dispatcher(DISPATCHER_MODEL_GRACE_S="1"),
    )
    with road.up(made.api, made.relay, made.writer, made.dispatcher):
        yield made


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx.Client]:
    with road.client_of(platform.api) as made:
        yield made


@pytest.fixture
def rows_of(services: Services) -> Iterator[Database]:
    """The platform's own database."""
    database = Database(services.postgres.url, pool_size=2, timeout_s=5, retry_s=5)
    yield database
    database.close()
