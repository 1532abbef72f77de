"""Backlog: how far real consumer groups have read on real brokers, one of which forgets it all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from contracts.topics import (
    ALL_TOPICS,
    CLASSIFICATION_RESULTS,
    DISPATCHER_GROUP,
    IMAGE_PROCESSING,
    PROCESSING_ERRORS,
    WRITER_GROUP,
)
from gateway.backlog import Backlog, Positions
from gateway.database import Database
from gateway.relay import Relay
from gateway.sweeper import Deadlines, Sweeper
from runtime import kafka
from runtime.errors import Unavailable
from runtime.settings import KafkaSettings
from standalone.machine.ports import free_port
from standalone.parts.kafka import TansuKafka
from tests.conftest import running
from tests.gateway import rows

pytestmark = pytest.mark.integration

AT_ONCE = Deadlines(first_s=0.001, cap_s=0.001, interval_s=0)


def send(settings: KafkaSettings, topic: str, count: int) -> list[kafka.Ack]:
    producer = kafka.producer(settings, "test")
    records = [kafka.Record(topic, str(key).encode(), b"{}", []) for key in range(count)]
    acks = producer.send_all(records)
    producer.close()
    return [ack for ack in acks if isinstance(ack, kafka.Ack)]


def commit(settings: KafkaSettings, group: str, topic: str, offsets: dict[int, int]) -> None:
    """As a member of the group did before."""
    member = kafka.consumer(settings, group, "test", 1)
    member.assign([TopicPartition(topic, partition) for partition in offsets])
    member.commit(
        {TopicPartition(topic, p): OffsetAndMetadata(n, "", -1) for p, n in offsets.items()}
    )
    member.close(autocommit=False, timeout_ms=1_000)


def test_nothing_sent_is_nothing_waiting(kafka_settings: KafkaSettings) -> None:
    positions = Backlog(kafka_settings).positions()
    assert positions == Positions(dict.fromkeys(range(6), 0), dict.fromkeys(range(6), 0), 0)


def test_it_knows_what_was_read_and_what_was_not(kafka_settings: KafkaSettings) -> None:
    acks = send(kafka_settings, IMAGE_PROCESSING, 30)
    ends = {p: sum(ack.partition == p for ack in acks) for p in range(6)}
    partition = acks[0].partition
    commit(kafka_settings, DISPATCHER_GROUP, IMAGE_PROCESSING, {partition: 1})
    positions = Backlog(kafka_settings).positions()
    assert positions.end == ends
    assert positions.committed == {**dict.fromkeys(range(6), 0), partition: 1}
    assert not positions.is_waiting(partition, 0)
    assert positions.is_waiting(partition, 1) is (ends[partition] > 1)


@pytest.mark.parametrize("topic", [CLASSIFICATION_RESULTS, PROCESSING_ERRORS])
def test_results_and_failures_are_unread_until_a_writer_committed(
    kafka_settings: KafkaSettings, topic: str
) -> None:
    acks = send(kafka_settings, topic, 9)
    assert Backlog(kafka_settings).positions().results_unread == 9
    read = {p: sum(ack.partition == p for ack in acks) for p in {ack.partition for ack in acks}}
    commit(kafka_settings, WRITER_GROUP, topic, read)
    assert Backlog(kafka_settings).positions().results_unread == 0


def test_a_silent_kafka_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "BOOTSTRAP_TIMEOUT_MS", 300)
    with pytest.raises(Unavailable):
        Backlog(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1")).positions()


def published(database: Database, settings: KafkaSettings) -> int:
    """An image whose event is on Kafka; its id."""
    image_id = rows.insert(database).id
    producer = kafka.producer(settings, "relay")
    assert Relay(database, producer, lambda: None, 10).publish_batch() == 1
    producer.close()
    return image_id


def place(database: Database, image_id: int) -> tuple[int, int]:
    with database.statement() as cursor:
        query = "SELECT kafka_partition, kafka_offset FROM images WHERE id = %s"
        cursor.execute(query, (image_id,))
        partition, offset = cursor.fetchone() or (-1, -1)
    return partition, offset


def test_an_event_is_left_until_dispatchers_passed_it(
    database: Database, kafka_settings: KafkaSettings
) -> None:
    image_id = published(database, kafka_settings)
    sweeper = Sweeper(database, Backlog(kafka_settings), AT_ONCE)
    assert sweeper.sweep() == 0
    partition, offset = place(database, image_id)
    commit(kafka_settings, DISPATCHER_GROUP, IMAGE_PROCESSING, {partition: offset + 1})
    assert sweeper.sweep() == 1


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[TansuKafka]:
    for part in running(TansuKafka(tmp_path, free_port())):
        assert isinstance(part, TansuKafka)
        yield part


@pytest.mark.parametrize("topics_are_back", [False, True])
def test_a_broker_that_lost_its_memory_loses_no_image(
    database: Database,
    forgetful: TansuKafka,
    topics_are_back: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=forgetful.bootstrap_servers, kafka_delivery_timeout_s=5
    )
    partitions = {topic.name: topic.partitions for topic in ALL_TOPICS}
    kafka.ensure_topics(settings, partitions, 1)
    image_id = published(database, settings)
    sweeper = Sweeper(database, Backlog(settings), AT_ONCE)
    assert sweeper.sweep() == 0
    forgetful.kill()
    with monkeypatch.context() as patched:
        patched.setattr(kafka, "BOOTSTRAP_TIMEOUT_MS", 300)
        assert sweeper.sweep() == 0  # nobody knows yet
    forgetful.start()
    forgetful.wait_ready()
    if topics_are_back:
        kafka.ensure_topics(settings, partitions, 1)
    assert sweeper.sweep() == 1
    assert rows.value(database, "SELECT published_at FROM images WHERE id = %s", image_id) is None
