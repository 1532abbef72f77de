"""Kafka clients against real brokers: each record has its own outcome, and none is lost."""

import itertools
import re
import threading
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, MessageSizeTooLargeError

from runtime import kafka
from runtime.errors import Unavailable
from runtime.kafka import Ack, Producer, Record
from runtime.settings import KafkaSettings
from standalone.machine.ports import free_port
from standalone.parts.kafka import ApacheKafka, TansuKafka

TOPIC = "image-processing-topic"
SOON_S = 30.0
READ_AT_ONCE = 500

_numbers = itertools.count(1)


def record(number: int, topic: str = TOPIC, size_bytes: int = 0) -> Record:
    return Record(topic, str(number).encode(), b"%d" % number + b" " * size_bytes, [("n", b"1")])


def read_all(settings: KafkaSettings, expected: set[int], topic: str = TOPIC) -> list[int]:
    """Every value on the topic; reads until all that are expected came, or time is up."""
    reader = kafka.consumer(settings, f"reader-{next(_numbers)}", "reader", READ_AT_ONCE)
    reader.assign([TopicPartition(topic, p) for p in reader.partitions_for_topic(topic)])
    seen: list[int] = []
    deadline_s = time.monotonic() + SOON_S
    while not expected <= set(seen) and time.monotonic() < deadline_s:
        for batch in reader.poll(timeout_ms=200).values():
            seen += [int(message.value) for message in batch]
    reader.close(autocommit=False)
    return seen


def eventually(call: Callable[[], Any]) -> Any:
    """What `call` returns once it is no longer Unavailable."""
    deadline_s = time.monotonic() + SOON_S
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)


def send_all_until_acked(producer: Producer, records: list[Record]) -> None:
    def send() -> None:
        outcomes = producer.send_all(records)
        records[:] = [r for r, o in zip(records, outcomes, strict=True) if not isinstance(o, Ack)]
        if records:
            raise Unavailable("some are left")

    eventually(send)


@pytest.mark.integration
def test_every_record_is_acknowledged_and_on_the_log(kafka_settings: KafkaSettings) -> None:
    producer = kafka.producer(kafka_settings, "tests")
    outcomes = producer.send_all([record(number) for number in range(300)])
    producer.close()
    assert all(isinstance(outcome, Ack) for outcome in outcomes)
    assert len({(a.partition, a.offset) for a in outcomes if isinstance(a, Ack)}) == 300
    assert sorted(read_all(kafka_settings, set(range(300)))) == list(range(300))


@pytest.mark.integration
def test_keys_and_headers_travel_and_a_key_stays_on_its_partition(
    kafka_settings: KafkaSettings,
) -> None:
    producer = kafka.producer(kafka_settings, "tests")
    outcomes = producer.send_all([record(7), record(8), record(7)])
    producer.close()
    partitions = [outcome.partition for outcome in outcomes if isinstance(outcome, Ack)]
    assert partitions[0] == partitions[2]
    reader = kafka.consumer(kafka_settings, f"reader-{next(_numbers)}", "reader", READ_AT_ONCE)
    reader.subscribe([TOPIC])
    polled = eventually(partial(poll_some, reader))
    first = next(message for batch in polled.values() for message in batch)
    reader.close(autocommit=False)
    assert first.key in {b"7", b"8"}
    assert list(first.headers) == [("n", b"1")]


def poll_some(reader: KafkaConsumer) -> Any:
    polled = reader.poll(timeout_ms=500)
    if not polled:
        raise Unavailable("nothing yet")
    return polled


@pytest.mark.integration
def test_one_that_cannot_be_sent_harms_no_other(kafka_settings: KafkaSettings) -> None:
    producer = kafka.producer(kafka_settings, "tests")
    too_large = record(1, size_bytes=2_000_000)
    outcomes = producer.send_all([record(0), too_large, record(2)])
    assert [type(outcome) for outcome in outcomes] == [Ack, Unavailable, Ack]
    assert isinstance(producer.send_all([record(3)])[0], Ack), "and the producer lives on"
    producer.close()


@pytest.mark.integration
def test_a_topic_that_is_not_there_is_unavailable_within_its_bound(
    apache_kafka: ApacheKafka,
) -> None:
    quick = KafkaSettings(
        kafka_bootstrap_servers=apache_kafka.bootstrap_servers, kafka_delivery_timeout_s=1
    )
    producer = kafka.producer(quick, "tests")
    started_s = time.monotonic()
    outcomes = producer.send_all([record(1, topic="no-such-topic")])
    producer.close()
    assert isinstance(outcomes[0], Unavailable)
    assert time.monotonic() - started_s < 5


@pytest.mark.integration
@pytest.mark.parametrize("kafka_settings", ["apache_kafka"], indirect=True)
def test_a_new_group_starts_at_the_oldest_and_commits_nothing_by_itself(
    kafka_settings: KafkaSettings,
) -> None:
    producer = kafka.producer(kafka_settings, "tests")
    producer.send_all([record(number) for number in range(20)])
    producer.close()
    group = f"group-{next(_numbers)}"
    for _ in range(2):  # what was read and not committed is read again
        reader = kafka.consumer(kafka_settings, group, "reader", max_poll_records=5)
        reader.subscribe([TOPIC])
        polled = eventually(partial(poll_some, reader))
        assert sum(len(batch) for batch in polled.values()) <= 5
        assert min(message.offset for batch in polled.values() for message in batch) == 0
        reader.close(autocommit=False)


@pytest.mark.integration
def test_ensuring_topics_twice_is_fine(kafka_settings: KafkaSettings) -> None:
    kafka.ensure_topics(kafka_settings, {"late": 2, TOPIC: 6}, 1)
    kafka.ensure_topics(kafka_settings, {"late": 2}, 1)
    with kafka.admin(kafka_settings) as client:
        assert {"late", TOPIC} <= set(client.list_topics())
        client.delete_topics(["late"])


def test_no_broker_is_unavailable_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "BOOTSTRAP_TIMEOUT_MS", 300)
    monkeypatch.setattr(kafka, "ADMIN_TIMEOUT_MS", 300)
    settings = KafkaSettings(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    producer = kafka.producer(settings, "tests")
    started_s = time.monotonic()
    with pytest.raises(Unavailable):
        producer.send_all([record(1)])
    with pytest.raises(Unavailable):
        kafka.consumer(settings, "group", "tests", 1)
    with pytest.raises(Unavailable), kafka.admin(settings):
        pass
    producer.close()
    assert time.monotonic() - started_s < 5


@pytest.mark.integration
def test_killed_amid_sends_apache_has_all_it_acknowledged(apache_kafka: ApacheKafka) -> None:
    """kill -9 and a restart on its log: acknowledged is on the log."""
    settings = KafkaSettings(
        kafka_bootstrap_servers=apache_kafka.bootstrap_servers, kafka_delivery_timeout_s=5
    )
    topic = f"killed-{next(_numbers)}"
    kafka.ensure_topics(settings, {topic: 3}, 1)
    producer = kafka.producer(settings, "tests")
    acknowledged: set[int] = set()
    enough = threading.Event()
    stop = threading.Event()

    def send() -> None:
        for first in itertools.count(0, 50):
            if stop.is_set():
                return
            numbers = range(first, first + 50)
            left = [record(number, topic) for number in numbers]
            send_all_until_acked(producer, left)
            acknowledged.update(numbers)
            if len(acknowledged) >= 1_000:
                enough.set()

    sender = threading.Thread(target=send)
    sender.start()
    assert enough.wait(SOON_S)
    apache_kafka.kill()
    before = len(acknowledged)
    apache_kafka.start()
    apache_kafka.wait_ready()
    deadline_s = time.monotonic() + SOON_S
    while len(acknowledged) < before + 500 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    stop.set()
    sender.join(SOON_S)
    producer.close()
    assert not sender.is_alive()
    assert len(acknowledged) >= before + 500, "the producer goes on after the restart"
    assert acknowledged <= set(read_all(settings, acknowledged, topic))


@pytest.mark.integration
def test_a_broker_that_lost_its_memory_is_sent_to_again(own_tansu: TansuKafka) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=own_tansu.bootstrap_servers, kafka_delivery_timeout_s=1
    )
    kafka.ensure_topics(settings, {TOPIC: 6}, 1)
    producer = kafka.producer(settings, "tests")
    send_all_until_acked(producer, [record(number) for number in range(50)])
    own_tansu.kill()
    own_tansu.start()
    own_tansu.wait_ready()
    eventually(lambda: kafka.ensure_topics(settings, {TOPIC: 6}, 1))
    send_all_until_acked(producer, [record(number) for number in range(50, 100)])
    producer.close()
    assert set(read_all(settings, set(range(50, 100)))) == set(range(50, 100))


class FakeFuture:
    def __init__(self, outcome: Exception | SimpleNamespace) -> None:
        self._outcome = outcome

    def get(self, timeout: float) -> SimpleNamespace:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class FakeClient:
    """Answers sends with what it was given, in order."""

    def __init__(self, *outcomes: Any) -> None:
        self._outcomes = iter(outcomes)
        self.closed = False
        self.forced = False
        self._sender = SimpleNamespace(force_close=self._force)

    def _force(self) -> None:
        self.forced = True

    def send(self, topic: str, key: bytes, value: bytes, headers: Any) -> FakeFuture:
        outcome = next(self._outcomes)
        if isinstance(outcome, (KafkaTimeoutError, AssertionError, ValueError, TypeError)):
            raise outcome
        return FakeFuture(outcome)

    def close(self, timeout: float) -> None:
        self.closed = True
        raise KafkaTimeoutError("the broker does not let go")


@pytest.mark.parametrize(
    "failure",
    [
        MessageSizeTooLargeError("at the broker"),
        AssertionError("closed meanwhile"),
        ValueError("Partitioner did not assign a partition for topic"),
        TypeError("'NoneType' object is not iterable"),
        KafkaConnectionError("reset"),
        OSError("broken pipe"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_each_record_has_its_own_outcome_and_a_failed_client_is_replaced(
    failure: Exception,
) -> None:
    good = SimpleNamespace(partition=1, offset=5)
    clients = [FakeClient(good, failure, good), FakeClient(good)]
    made = iter(clients)
    producer = Producer(lambda: next(made), delivery_timeout_s=1)
    first, second, third = producer.send_all([record(1), record(2), record(3)])
    assert (first, third) == (Ack(1, 5), Ack(1, 5))
    assert isinstance(second, Unavailable)
    assert clients[0].closed
    assert clients[0].forced, "its own close went no further than its flush"
    assert producer.send_all([record(4)]) == [Ack(1, 5)]
    assert not clients[1].closed
    producer.close()
    assert clients[1].closed


def test_a_silent_broker_is_asked_once_not_once_a_record() -> None:
    good = SimpleNamespace(partition=1, offset=5)
    producer = Producer(lambda: FakeClient(good, KafkaTimeoutError("no metadata")), 1)
    first, *rest = producer.send_all([record(number) for number in range(4)])
    assert first == Ack(1, 5)
    assert [type(outcome) for outcome in rest] == [Unavailable] * 3


def test_trace_headers_are_w3c_trace_context() -> None:
    trace_id = "ab" * 16
    [(name, value)] = kafka.trace_headers(trace_id)
    assert name == "traceparent"
    assert re.fullmatch(f"00-{trace_id}-[0-9a-f]{{16}}-01", value.decode())
    assert kafka.trace_headers(trace_id) != kafka.trace_headers(trace_id), "a span of its own"
