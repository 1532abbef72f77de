"""Real services for the tests, from the same parts that `make up` runs; each starts once a session.

A service that cannot run here skips its tests with the reason; in CI, where all must run, it fails.
"""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from build import model_versions
from contracts.topics import ALL_TOPICS, DISPATCHER_GROUP, WRITER_GROUP
from gateway.database import Database
from gateway.migrate import migrate
from runtime import kafka
from runtime.settings import KafkaSettings
from standalone.machine.ports import free_port
from standalone.parts import kafka_jars
from standalone.parts.kafka import ApacheKafka, TansuKafka
from standalone.parts.postgres import EmbeddedPostgres
from standalone.parts.redis import RedisServer
from standalone.parts.triton_server import ENVIRONMENT, TritonServer
from standalone.processes.part import Part
from standalone.processes.steps import StartError

ROOT = Path(__file__).parent.parent
IN_CI = os.environ.get("CI") == "true"
TEMPLATE = "template_platform"

_database_numbers = itertools.count(1)


def unavailable(reason: str) -> None:
    """Skip on a laptop, fail in CI."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def running(part: Part) -> Iterator[Part]:
    try:
        part.start()
        part.wait_ready()
    except StartError as exc:
        unavailable(f"{part.name} cannot run here: {exc}")
    yield part
    part.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server with a migrated template database."""
    part = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), free_port())
    for _ in running(part):
        administer(part, f"CREATE DATABASE {TEMPLATE}")
        template = Database(url_of(part, TEMPLATE), pool_size=1, timeout_s=10)
        migrate(template)
        template.close()
        yield part


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """An empty, migrated database of the test's own: a copy of the template."""
    name = f"test_{next(_database_numbers)}"
    administer(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield url_of(postgres, name)
    administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=8, timeout_s=5, retry_s=1)
    yield database
    database.close()


def url_of(part: EmbeddedPostgres, database: str) -> str:
    return part.url.rpartition("/")[0] + f"/{database}"


def administer(part: EmbeddedPostgres, statement: str) -> None:
    connection = psycopg2.connect(part.url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    part = RedisServer(tmp_path_factory.mktemp("redis"), free_port())
    for _ in running(part):
        yield part


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The session's Redis, emptied."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    reason = kafka_jars.why_not()
    if reason:
        unavailable(reason)
    part = ApacheKafka(tmp_path_factory.mktemp("apache"), free_port(), controller_port=free_port())
    for _ in running(part):
        yield part


@pytest.fixture(scope="session")
def tansu_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TansuKafka]:
    part = TansuKafka(tmp_path_factory.mktemp("tansu"), free_port())
    for _ in running(part):
        yield part


@pytest.fixture
def own_tansu(tmp_path: Path) -> Iterator[TansuKafka]:
    """A broker that a test may kill, and that then has forgotten everything."""
    part = TansuKafka(tmp_path, free_port())
    for _ in running(part):
        yield part


@pytest.fixture(params=["apache_kafka", "tansu_kafka"])
def kafka_settings(request: pytest.FixtureRequest) -> KafkaSettings:
    """Either broker, its topics empty and its groups forgotten."""
    broker = request.getfixturevalue(request.param)
    settings = KafkaSettings(
        kafka_bootstrap_servers=broker.bootstrap_servers, kafka_delivery_timeout_s=5
    )
    forget_everything(settings)
    kafka.ensure_topics(settings, {topic.name: topic.partitions for topic in ALL_TOPICS}, 1)
    return settings


def forget_everything(settings: KafkaSettings) -> None:
    with kafka.admin(settings) as client:
        ours = {topic.name for topic in ALL_TOPICS} & set(client.list_topics())
        if ours:
            client.delete_topics(sorted(ours))
        forget_groups(client)


def forget_groups(client: KafkaAdminClient) -> None:
    try:
        client.delete_groups([DISPATCHER_GROUP, WRITER_GROUP])
    except KafkaError:  # there was none
        return


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """The assembled starter: the model repository's `clip_vit/1`."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        unavailable("there is no .venv-triton: run `make install`")
    subprocess.run([python, "-m", "build.assemble_starter"], cwd=ROOT, check=True)
    return ROOT / "model_repository" / "clip_vit" / "1"


@pytest.fixture(scope="session")
def model_repository(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Path:
    """The starter alone, active, whatever the checkout's repository serves."""
    repository = tmp_path_factory.mktemp("models") / "model_repository"
    leave_out = shutil.ignore_patterns("[2-9]*", "1?*", ".*", "__pycache__")
    shutil.copytree(starter_model.parent.parent, repository, ignore=leave_out)
    model_versions.activate(repository, starter_model.name)
    return repository


@pytest.fixture(scope="session")
def triton(
    tmp_path_factory: pytest.TempPathFactory, model_repository: Path
) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("triton")
    part = TritonServer(folder, free_port(), free_port(), model_repository)
    for _ in running(part):
        yield part
