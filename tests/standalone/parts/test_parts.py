"""The real parts: started, killed, started again on what they kept, stopped."""

import os
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from standalone.machine.ports import free_port
from standalone.parts import kafka_jars
from standalone.parts.http_probe import http_ok
from standalone.parts.kafka import ApacheKafka, Kafka, TansuKafka
from standalone.parts.postgres import EmbeddedPostgres
from standalone.parts.redis import RedisServer
from standalone.parts.triton_memory import SHARED_MEMORY, shared_memory_prefix
from standalone.parts.triton_server import MODEL_REPOSITORY, TritonServer
from standalone.processes.part import Part
from standalone.processes.steps import StartError
from tests.conftest import unavailable
from tests.standalone.stand_ins import eventually

pytestmark = pytest.mark.integration

TOPIC = "kept"


@pytest.fixture
def run() -> Iterator[Callable[[Part], None]]:
    parts: list[Part] = []

    def run(part: Part) -> None:
        parts.append(part)
        part.start()
        part.wait_ready()

    yield run
    for part in parts:
        part.kill()


def query(part: EmbeddedPostgres, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(part.url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def test_postgres_keeps_what_was_committed_over_a_kill(
    run: Callable[[Part], None], tmp_path: Path
) -> None:
    part = EmbeddedPostgres(tmp_path, free_port())
    run(part)
    query(part, "CREATE TABLE t AS SELECT 42 AS answer")
    part.kill()
    assert part.pid is None
    run(part)
    assert query(part, "SELECT answer FROM t") == [(42,)]
    part.stop()
    assert part.exit_code() == 0


@pytest.mark.parametrize("seconds", [60, 0], ids=["by-another", "by-one-dead-and-not-reaped"])
def test_postgres_starts_though_its_old_number_is_in_use(
    run: Callable[[Part], None], tmp_path: Path, seconds: int
) -> None:
    part = EmbeddedPostgres(tmp_path, free_port())
    run(part)
    part.kill()
    lock_file = tmp_path / "postgres" / "postmaster.pid"
    owner = lock_file.stat().st_uid  # Postgres takes no notice of other users' processes
    with subprocess.Popen(["sleep", str(seconds)], user=owner) as other:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT | (os.WNOHANG if seconds else 0))
        _old, *lines = lock_file.read_text().splitlines()
        lock_file.write_text("\n".join([str(other.pid), *lines]) + "\n")
        run(part)
        other.kill()


def test_postgres_begins_anew_when_its_making_was_cut_off(
    run: Callable[[Part], None], tmp_path: Path
) -> None:
    unfinished = tmp_path / "postgres.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    part = EmbeddedPostgres(tmp_path, free_port())
    run(part)
    assert query(part, "SELECT lower('ÄÖÜ')") == [("äöü",)]
    assert not unfinished.exists()


def test_postgres_asks_for_its_password(run: Callable[[Part], None], tmp_path: Path) -> None:
    part = EmbeddedPostgres(tmp_path, free_port())
    run(part)
    assert (tmp_path / "postgres.password").stat().st_mode & 0o777 == 0o600
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(part.url.replace(":", ":wrong", 2).replace(":wrong//", "://", 1))


def test_redis_is_a_bounded_cache_that_forgets(run: Callable[[Part], None], tmp_path: Path) -> None:
    part = RedisServer(tmp_path, free_port())
    run(part)
    with redis.Redis.from_url(part.url, decode_responses=True) as client:
        client.set("image:1", "x")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("save") == {"save": ""}
    part.kill()
    run(part)
    with redis.Redis.from_url(part.url) as client:
        assert client.get("image:1") is None


def test_apache_kafka_keeps_its_log_over_a_kill_and_its_ports(
    run: Callable[[Part], None], tmp_path: Path
) -> None:
    if reason := kafka_jars.why_not():
        unavailable(reason)
    part = ApacheKafka(tmp_path, free_port(), free_port())
    run(part)
    send(part, [b"1", b"2"])
    part.kill()
    moved = ApacheKafka(tmp_path, free_port(), free_port())
    run(moved)
    send(moved, [b"3"])
    assert received(moved) == [b"1", b"2", b"3"]
    with KafkaAdminClient(bootstrap_servers=moved.bootstrap_servers) as admin:
        assert not admin.describe_topics(["never-made"])[0]["partitions"]
        assert "never-made" not in admin.list_topics()
    moved.stop()


def test_apache_kafka_takes_a_cluster_id_that_begins_with_a_dash(
    run: Callable[[Part], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := kafka_jars.why_not():
        unavailable(reason)
    dashed = uuid.UUID(bytes=b"\xf8" + bytes(15))
    assert urlsafe_b64encode(dashed.bytes).startswith(b"-")
    monkeypatch.setattr(uuid, "uuid4", lambda: dashed)
    run(ApacheKafka(tmp_path, free_port(), free_port()))


def test_the_embedded_broker_forgets_its_topics(
    run: Callable[[Part], None], tmp_path: Path
) -> None:
    part = TansuKafka(tmp_path, free_port())
    run(part)
    send(part, [b"1"])
    assert received(part) == [b"1"]
    part.kill()
    run(part)
    with KafkaAdminClient(bootstrap_servers=part.bootstrap_servers) as admin:
        assert TOPIC not in admin.list_topics()


def test_triton_is_back_after_a_kill_and_leaves_no_shared_memory(
    run: Callable[[Part], None], tmp_path: Path
) -> None:
    """In a folder with a space in its name, which Triton itself would not quote."""
    if not (MODEL_REPOSITORY / "clip_vit" / "1" / "manifest.json").exists():
        unavailable("the starter model is not assembled: make up, or make test for all of it")
    data_dir = tmp_path / "a folder"
    part = TritonServer(data_dir, free_port(), free_port())
    run(part)
    killed = part.pid
    part.kill()
    assert not part.is_ready()
    run(part)
    assert part.pid != killed
    assert eventually(lambda: http_ok(part.metrics_address, "/metrics"))  # opens after gRPC's port
    part.stop()
    assert not list(SHARED_MEMORY.glob(f"{shared_memory_prefix(data_dir)}*"))


def test_a_part_that_cannot_start_shows_its_last_words(
    run: Callable[[Part], None], tmp_path: Path
) -> None:
    first = RedisServer(tmp_path, free_port())
    run(first)
    second = RedisServer(tmp_path, first.address.port)
    second.start()
    assert second._child
    second._child.wait(10)
    second.is_ready = lambda: False  # type: ignore[method-assign]
    with pytest.raises(StartError, match=r"redis died \(exit code 1\)") as caught:
        second.wait_ready()
    assert any("Address already in use" in line for line in caught.value.log_lines)


def test_a_silent_part_is_not_waited_for_for_ever(
    run: Callable[[Part], None], tmp_path: Path
) -> None:
    part = RedisServer(tmp_path, free_port())
    run(part)
    part.is_ready = lambda: False  # type: ignore[method-assign]
    with pytest.raises(StartError, match="redis was not ready within 0 s"):
        part.wait_ready(timeout_s=0.1)


def send(broker: Kafka, values: list[bytes]) -> None:
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers) as admin:
        if TOPIC not in admin.list_topics():
            admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    with KafkaProducer(bootstrap_servers=broker.bootstrap_servers, acks="all") as producer:
        for value in values:
            producer.send(TOPIC, value).get(10)


def received(broker: Kafka) -> list[bytes]:
    with KafkaConsumer(bootstrap_servers=broker.bootstrap_servers) as consumer:
        partition = TopicPartition(TOPIC, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        values: list[bytes] = []
        while len(values) < end:
            polled = consumer.poll(timeout_ms=1000)
            values += [record.value for batch in polled.values() for record in batch]
        return values
