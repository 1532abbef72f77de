"""Relay: every committed row becomes an event, at least once, whatever dies in between."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaConsumer, TopicPartition

from contracts.topics import ALL_TOPICS, IMAGE_PROCESSING
from gateway.database import Database
from gateway.images import Status
from gateway.notifications import SUBMITTED, Doorbell, Listener
from gateway.relay import Relay
from runtime import kafka
from runtime.errors import Unavailable
from runtime.lifecycle import Lifecycle, Pulse
from runtime.settings import KafkaSettings
from standalone.machine.ports import free_port
from standalone.parts.kafka import ApacheKafka, Kafka
from tests.conftest import running
from tests.gateway import fakes, rows
from tests.gateway.waits import until

pytestmark = pytest.mark.integration

Events = list[kafka.Record]


def nothing() -> None:
    return None


def relay_with(database: Database, producer: kafka.Producer, batch: int = 100) -> Relay:
    return Relay(database, producer, nothing, batch)


def read(settings: KafkaSettings) -> Events:
    """Every event of the image topic, from its beginning."""
    reader = KafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, consumer_timeout_ms=100
    )
    partitions = [
        TopicPartition(IMAGE_PROCESSING, p)
        for p in reader.partitions_for_topic(IMAGE_PROCESSING) or ()
    ]
    reader.assign(partitions)
    reader.seek_to_beginning(*partitions)
    ends = reader.end_offsets(partitions)
    found: Events = []
    while any(reader.position(partition) < ends[partition] for partition in partitions):
        for batch in reader.poll(timeout_ms=200).values():
            found += [kafka.Record(r.topic, r.key, r.value, list(r.headers)) for r in batch]
    reader.close(autocommit=False)
    return found


def image_ids(events: Events) -> list[int]:
    return sorted(json.loads(event.value)["imageId"] for event in events)


def test_a_row_becomes_an_event_that_says_all(
    database: Database, kafka_settings: KafkaSettings
) -> None:
    image = rows.insert(database)
    producer = kafka.producer(kafka_settings, "relay")
    assert relay_with(database, producer).publish_batch() == 1
    (event,) = read(kafka_settings)
    assert event.key == str(image.id).encode()
    assert json.loads(event.value) == {
        "imageId": image.id,
        "s3Key": image.s3_key,
        "mediaType": "image/jpeg",
        "modelKey": "models/m.json",
        "labelSet": "imagenet-1k",
        "labelSetKey": "label-sets/l.npz",
        "traceId": rows.TRACE_ID,
    }
    ((name, traceparent),) = event.headers
    assert name == "traceparent"
    assert re.fullmatch(rb"00-%s-[0-9a-f]{16}-01" % rows.TRACE_ID.encode(), traceparent)
    assert rows.find(database, image.id).status is Status.PROCESSING
    producer.close()


def test_rows_are_published_once_in_batches(
    database: Database, kafka_settings: KafkaSettings
) -> None:
    inserted = [rows.insert(database).id for _ in range(25)]
    producer = kafka.producer(kafka_settings, "relay")
    relay = relay_with(database, producer, batch=10)
    assert [relay.publish_batch() for _ in range(4)] == [10, 10, 5, 0]
    assert image_ids(read(kafka_settings)) == inserted
    producer.close()


def test_two_relays_share_the_work_without_doubling(
    database: Database, kafka_settings: KafkaSettings
) -> None:
    inserted = [rows.insert(database).id for _ in range(60)]
    counts: list[int] = []

    def run(producer: kafka.Producer) -> None:
        relay = relay_with(database, producer, batch=4)
        while count := relay.publish_batch():
            counts.append(count)

    producers = [kafka.producer(kafka_settings, f"relay-{number}") for number in range(2)]
    threads = [threading.Thread(target=run, args=(producer,)) for producer in producers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 60
    assert image_ids(read(kafka_settings)) == inserted
    for producer in producers:
        producer.close()


def test_only_what_was_acknowledged_is_marked(database: Database) -> None:
    """Goes red as soon as the outcome of each send is no longer looked at."""
    one, two, three = (rows.insert(database).id for _ in range(3))
    client = fakes.KafkaClient(lost_keys={str(two).encode()})
    relay = relay_with(database, fakes.producer(client))
    with pytest.raises(Unavailable):
        relay.publish_batch()
    statuses = [rows.find(database, each).status for each in (one, two, three)]
    assert statuses == [Status.PROCESSING, Status.PENDING, Status.PROCESSING]
    client.lost_keys = ()
    assert relay.publish_batch() == 1
    assert client.sent == [str(each).encode() for each in (one, two, three, two)]
    assert rows.find(database, two).status is Status.PROCESSING


def test_a_crash_between_ack_and_commit_sends_again(
    database: Database, kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rows.insert(database)
    producer = kafka.producer(kafka_settings, "relay")
    with monkeypatch.context() as patched:
        patched.setattr("gateway.outbox.mark_published", _crash)
        with pytest.raises(KeyboardInterrupt):
            relay_with(database, producer).publish_batch()
    assert rows.find(database, image.id).status is Status.PENDING
    assert relay_with(database, producer).publish_batch() == 1
    assert image_ids(read(kafka_settings)) == [image.id, image.id]
    producer.close()


def _crash(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_result_that_came_before_the_mark_is_kept(database: Database) -> None:
    image = rows.insert(database)
    rows.execute(database, "UPDATE images SET status = 'COMPLETED' WHERE id = %s", image.id)
    client = fakes.KafkaClient()
    assert relay_with(database, fakes.producer(client)).publish_batch() == 0
    assert client.sent == []
    assert rows.find(database, image.id).status is Status.COMPLETED


@pytest.fixture
def running_relay(
    database: Database,
) -> Iterator[Callable[[kafka.Producer, Callable[[], None], float], Lifecycle]]:
    """Starts relays on threads of their own and ends them."""
    started: list[tuple[Lifecycle, threading.Thread]] = []

    def start(
        producer: kafka.Producer, ensure_topics: Callable[[], None], poll_s: float
    ) -> Lifecycle:
        lifecycle = Lifecycle()
        relay = Relay(database, producer, ensure_topics, 100)
        listener = Listener(database, SUBMITTED)
        thread = threading.Thread(target=relay.run, args=(listener, lifecycle, Pulse(), poll_s))
        thread.start()
        started.append((lifecycle, thread))
        return lifecycle

    yield start
    for lifecycle, thread in started:
        lifecycle.stop()
        thread.join(timeout=15)
        assert not thread.is_alive()


def published(database: Database) -> int:
    count = rows.value(database, "SELECT count(*) FROM images WHERE status = 'PROCESSING'")
    return int(count)


def test_an_upload_wakes_it_long_before_it_would_look(
    database: Database,
    running_relay: Callable[[kafka.Producer, Callable[[], None], float], Lifecycle],
) -> None:
    running_relay(fakes.producer(fakes.KafkaClient()), nothing, 2.0)
    doorbell = Doorbell(database, stop := Lifecycle())
    doorbell.start()
    rows.insert(database)
    doorbell.ring()
    until(lambda: published(database) == 1)  # it listens from here on
    started_s = time.monotonic()
    rows.insert(database)
    doorbell.ring()
    until(lambda: published(database) == 2)
    assert time.monotonic() - started_s < 0.8
    stop.stop()


def test_without_a_word_it_looks_by_itself(
    database: Database,
    running_relay: Callable[[kafka.Producer, Callable[[], None], float], Lifecycle],
) -> None:
    running_relay(fakes.producer(fakes.KafkaClient()), nothing, 0.1)
    rows.insert(database)
    until(lambda: published(database) == 1)


@pytest.fixture(params=["apache", "tansu"])
def fragile_kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kafka]:
    """A broker that this module may kill."""
    from standalone.parts import kafka_jars
    from standalone.parts.kafka import TansuKafka
    from tests.conftest import unavailable

    folder = tmp_path_factory.mktemp("fragile-kafka")
    broker: Kafka = TansuKafka(folder, free_port())
    if request.param == "apache":
        if reason := kafka_jars.why_not():
            unavailable(reason)
        broker = ApacheKafka(folder, free_port(), controller_port=free_port())
    for _ in running(broker):
        yield broker


def test_a_killed_broker_costs_no_event(
    database: Database,
    fragile_kafka: Kafka,
    running_relay: Callable[[kafka.Producer, Callable[[], None], float], Lifecycle],
) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=fragile_kafka.bootstrap_servers, kafka_delivery_timeout_s=2
    )

    def ensure_topics() -> None:
        kafka.ensure_topics(settings, {t.name: t.partitions for t in ALL_TOPICS}, 1)

    ensure_topics()
    producer = kafka.producer(settings, "relay")
    running_relay(producer, ensure_topics, 0.1)
    before = {rows.insert(database).id for _ in range(20)}
    until(lambda: published(database) == 20)
    fragile_kafka.kill()
    during = {rows.insert(database).id for _ in range(20)}
    fragile_kafka.start()
    fragile_kafka.wait_ready()
    until(lambda: published(database) == 40, within_s=40)
    after = Counter(image_ids(read(settings)))
    expected = before | during if fragile_kafka.keeps_its_log else during
    assert set(after) == expected  # what a broker in memory forgot, the sweeper finds
    producer.close()
