"""No Kafka client leaves a thread or a file descriptor behind, whatever the broker does."""

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from runtime import kafka, kafka_lifetime
from runtime.errors import Unavailable
from runtime.kafka import Ack, Record
from runtime.settings import KafkaSettings
from standalone.machine.ports import free_port
from standalone.parts.kafka import TansuKafka

TOPIC = "image-processing-topic"
FAILED_STARTS = 20
HOPELESS_TIMEOUT_MS = 50
BOOTSTRAP_TIMEOUT_MS = 1_000
REQUEST_TIMEOUT_MS = 500
KILLS = 3
SENDERS = 4
SOON_S = 15.0


@pytest.fixture(autouse=True)
def quick_and_quiet(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Logged exceptions, which pytest keeps, would keep the sockets of their frames."""
    monkeypatch.setattr(kafka, "BOOTSTRAP_TIMEOUT_MS", BOOTSTRAP_TIMEOUT_MS)
    caplog.set_level(logging.CRITICAL, "kafka")


def threads_and_descriptors() -> tuple[int, int]:
    gc.collect()
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def settles_at(most: tuple[int, int]) -> bool:
    """Whether soon there are no more than `most`; a client's thread takes a moment to end."""
    deadline_s = time.monotonic() + SOON_S
    while time.monotonic() < deadline_s:
        if all(now <= limit for now, limit in zip(threads_and_descriptors(), most, strict=True)):
            return True
        time.sleep(0.05)
    return False


def make_producer(settings: KafkaSettings) -> None:
    kafka.producer(settings, "tests").send_all([record(0)])


def make_consumer(settings: KafkaSettings) -> None:
    kafka.consumer(settings, "group", "tests", 1)


def make_admin(settings: KafkaSettings) -> None:
    with kafka.admin(settings):
        pass


def record(number: int) -> Record:
    return Record(TOPIC, b"%d" % number, b"value", [])


@pytest.mark.parametrize("make", [make_producer, make_consumer, make_admin])
def test_a_client_that_finds_no_broker_leaves_nothing_behind(
    make: Callable[[KafkaSettings], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "BOOTSTRAP_TIMEOUT_MS", HOPELESS_TIMEOUT_MS)
    monkeypatch.setattr(kafka, "ADMIN_TIMEOUT_MS", HOPELESS_TIMEOUT_MS)
    settings = KafkaSettings(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    before = threads_and_descriptors()
    for _ in range(FAILED_STARTS):
        with pytest.raises(Unavailable):
            make(settings)
    assert settles_at(before), f"{threads_and_descriptors()} of {before} before"


@pytest.mark.integration
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_producer_thrown_away_leaves_nothing_behind(own_tansu: TansuKafka) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=own_tansu.bootstrap_servers, kafka_delivery_timeout_s=1
    )
    before = threads_and_descriptors()
    producer = kafka.producer(settings, "tests")
    for _ in range(KILLS):
        kafka.ensure_topics(settings, {TOPIC: 6}, 1)
        killed_amid_sends(producer, own_tansu)
        own_tansu.start()
        own_tansu.wait_ready()
    producer.close()
    assert settles_at(before), f"{threads_and_descriptors()} of {before} before"


def killed_amid_sends(producer: kafka.Producer, broker: TansuKafka) -> None:
    """Several threads share the producer, as those of the dispatcher do."""
    acked, failed = threading.Semaphore(0), threading.Semaphore(0)
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            outcomes: list[Ack | Unavailable] = [Unavailable("no client")]
            with contextlib.suppress(Unavailable):
                outcomes = producer.send_all([record(number) for number in range(50)])
            all_acked = all(isinstance(outcome, Ack) for outcome in outcomes)
            (acked if all_acked else failed).release()

    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    assert acked.acquire(timeout=SOON_S)
    broker.kill()
    for _ in range(SENDERS):
        assert failed.acquire(timeout=SOON_S)
    over.set()
    for sender in senders:
        sender.join(SOON_S)
        assert not sender.is_alive()


@pytest.mark.integration
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_end_amid_an_open_batch_stops_the_thread(own_tansu: TansuKafka) -> None:
    settings = KafkaSettings(kafka_bootstrap_servers=own_tansu.bootstrap_servers)
    kafka.ensure_topics(settings, {TOPIC: 6}, 1)
    before = threads_and_descriptors()
    client = kafka_lifetime.started(
        KafkaProducer,
        bootstrap_servers=own_tansu.bootstrap_servers,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        metrics_enabled=False,
    )
    client.partitions_for(TOPIC)
    own_tansu.kill()
    unsent = client.send(TOPIC, key=b"1", value=b"never acknowledged")
    with pytest.raises(KafkaTimeoutError):
        client.flush(timeout=0)  # so close alone would go no further
    kafka_lifetime.end(client, timeout_s=0)
    client.close(timeout=0)  # as __del__ does, which must not raise
    del client
    assert settles_at(before), f"{threads_and_descriptors()} of {before} before"
    assert unsent.failed(), "whoever waits for it need not wait longer"
