"""Backlog: how far real consumer groups have read on real brokers, one of which forgets it all."""

from collections import Counter
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
from gateway.outbox import Deadlines
from gateway.relay import Relay
from gateway.sweeper import Sweeper
from runtime import kafka
from runtime.errors import Unavailable
from runtime.settings import KafkaSettings
from standalone.machine.ports import free_port
from standalone.parts.kafka import TansuKafka
from tests.conftest import running
from tests.gateway import rows
from tests.gateway.backlogs import unread

pytestmark = pytest.mark.integration

AT_ONCE = Deadlines(first_s=0.001, cap_s=0.001)
RESULT_PARTITIONS = [(CLASSIFICATION_RESULTS, number) for number in range(3)]
NO_RESULTS = dict.fromkeys([*RESULT_PARTITIONS, (PROCESSING_ERRORS, 0)], 0)


def by_partition(positions: Positions) -> dict[int, tuple[int, int]]:
    return {waiting.partition: (waiting.first, waiting.past) for waiting in positions.waiting}


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
    assert by_partition(positions) == dict.fromkeys(range(6), (0, 0))
    assert positions.results_read == positions.results_end == NO_RESULTS


def test_it_knows_what_was_read_and_what_was_not(kafka_settings: KafkaSettings) -> None:
    acks = send(kafka_settings, IMAGE_PROCESSING, 30)
    ends = {p: sum(ack.partition == p for ack in acks) for p in range(6)}
    partition = acks[0].partition
    commit(kafka_settings, DISPATCHER_GROUP, IMAGE_PROCESSING, {partition: 1})
    positions = Backlog(kafka_settings).positions()
    expected = {number: (int(number == partition), end) for number, end in ends.items()}
    assert by_partition(positions) == expected


@pytest.mark.parametrize("topic", [CLASSIFICATION_RESULTS, PROCESSING_ERRORS])
def test_results_and_failures_are_unread_until_a_writer_committed(
    kafka_settings: KafkaSettings, topic: str
) -> None:
    acks = send(kafka_settings, topic, 9)
    assert unread(kafka_settings) == 9
    read = {p: sum(ack.partition == p for ack in acks) for p in {ack.partition for ack in acks}}
    commit(kafka_settings, WRITER_GROUP, topic, read)
    assert unread(kafka_settings) == 0


@pytest.mark.parametrize("kafka_settings", ["apache_kafka"], indirect=True)  # tansu keeps it all
@pytest.mark.parametrize(
    ("group", "topic"), [(DISPATCHER_GROUP, IMAGE_PROCESSING), (WRITER_GROUP, PROCESSING_ERRORS)]
)
def test_what_retention_removed_unread_is_not_waited_for(
    kafka_settings: KafkaSettings, group: str, topic: str
) -> None:
    """Goes red where a committed offset before the beginning of the log counts as it is."""
    acks = send(kafka_settings, topic, 40)
    ((partition, _count),) = Counter(ack.partition for ack in acks).most_common(1)
    commit(kafka_settings, group, topic, {partition: 1})
    with kafka.admin(kafka_settings) as client:
        client.delete_records({TopicPartition(topic, partition): 3})
    positions = Backlog(kafka_settings).positions()
    if topic == IMAGE_PROCESSING:
        assert by_partition(positions)[partition][0] == 3
    else:
        assert positions.results_read[topic, partition] == 3


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


@pytest.mark.parametrize("is_suspected", [False, True])
@pytest.mark.parametrize("topics_are_back", [False, True])
def test_a_broker_that_lost_its_memory_loses_no_image(
    database: Database,
    forgetful: TansuKafka,
    topics_are_back: bool,
    is_suspected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=forgetful.bootstrap_servers, kafka_delivery_timeout_s=5
    )
    partitions = {topic.name: topic.partitions for topic in ALL_TOPICS}
    kafka.ensure_topics(settings, partitions, 1)
    image_id = published(database, settings)
    if is_suspected:
        partition, offset = place(database, image_id)
        commit(settings, DISPATCHER_GROUP, IMAGE_PROCESSING, {partition: offset + 1})
        send(settings, CLASSIFICATION_RESULTS, 9)  # which no writer will read any more
    sweeper = Sweeper(database, Backlog(settings), AT_ONCE)
    assert [sweeper.sweep() for _ in range(2)] == [0, 0]
    forgetful.kill()
    with monkeypatch.context() as patched, pytest.raises(Unavailable):  # nobody knows yet
        patched.setattr(kafka, "BOOTSTRAP_TIMEOUT_MS", 300)
        sweeper.sweep()
    forgetful.start()
    forgetful.wait_ready()
    if topics_are_back:
        kafka.ensure_topics(settings, partitions, 1)
    assert sweeper.sweep() == 1
    assert rows.value(database, "SELECT published_at FROM images WHERE id = %s", image_id) is None
