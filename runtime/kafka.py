"""Kafka clients set up so that nothing is lost, whatever the library's defaults are.

Every KafkaError leaves here as runtime.errors.Unavailable: a broker problem is always worth a
retry, never a verdict about a message.
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from kafka import (
    AsyncConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    TopicPartition,
)
from kafka.admin import NewTopic
from kafka.errors import (
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    TopicAlreadyExistsError,
)

from runtime import kafka_lifetime
from runtime.errors import Unavailable
from runtime.settings import KafkaSettings

log = structlog.get_logger(__name__)

BOOTSTRAP_TIMEOUT_MS = 5_000
RECONNECT_BACKOFF_MAX_MS = 1_000
# A broker that lost its topics gets them back from `ensure_topics`; clients must notice soon.
METADATA_MAX_AGE_MS = 5_000
HEARTBEATS_PER_SESSION = 4
ADMIN_TIMEOUT_MS = 5_000
CLOSE_TIMEOUT_S = 5.0

Headers = list[tuple[str, bytes]]

# AssertionError: closed meanwhile. ValueError, TypeError: the topic left the metadata meanwhile.
_NOT_SENT = (KafkaError, OSError, AssertionError, ValueError, TypeError)


@dataclass(frozen=True)
class Record:
    """A message to send; records with the same key keep their order."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True)
class Ack:
    """Where the broker put a record, on all in-sync replicas."""

    partition: int
    offset: int


class Producer:
    """Sends batches of records and waits for each one's own acknowledgement.

    The client of kafka-python behind it is made at the first send and thrown away after any
    failure: an idempotent producer whose broker forgot it may otherwise fail for ever.
    Safe to share between threads.
    """

    def __init__(self, connect: Callable[[], KafkaProducer], delivery_timeout_s: float) -> None:
        self._connect = connect
        self._timeout_s = delivery_timeout_s
        self._lock = threading.Lock()
        self._client: KafkaProducer | None = None

    def send_all(self, records: Sequence[Record]) -> list[Ack | Unavailable]:
        """One outcome for each record, in order. Raises Unavailable when no broker answers.

        `flush()` is not used: it returns normally even when records expired unsent.
        """
        client = self._connected()
        deadline_s = time.monotonic() + self._timeout_s
        pending = self._send(client, records)
        outcomes = [self._outcome(future, deadline_s) for future in pending]
        if any(isinstance(outcome, Unavailable) for outcome in outcomes):
            self._discard(client)
        return outcomes

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            kafka_lifetime.end(client, CLOSE_TIMEOUT_S)

    def _connected(self) -> KafkaProducer:
        with self._lock:
            if self._client is None:
                with translated("no Kafka broker answers"):
                    self._client = self._connect()
            return self._client

    def _send(self, client: KafkaProducer, records: Sequence[Record]) -> list[Any]:
        """A future for each record, or why there is none; a broker that is silent is asked once."""
        pending: list[Any] = []
        for record in records:
            try:
                future = client.send(
                    record.topic, key=record.key, value=record.value, headers=record.headers
                )
            except KafkaTimeoutError as exc:  # each further send would block as long
                return [*pending, *[exc] * (len(records) - len(pending))]
            except _NOT_SENT as exc:
                pending.append(exc)
            else:
                pending.append(future)
        return pending

    def _outcome(self, pending: Any, deadline_s: float) -> Ack | Unavailable:
        if isinstance(pending, Exception):
            return Unavailable(f"not sent: {pending!r}")
        try:
            metadata = pending.get(timeout=max(0.0, deadline_s - time.monotonic()))
            return Ack(partition=metadata.partition, offset=metadata.offset)
        except (KafkaError, OSError) as exc:
            return Unavailable(f"not acknowledged: {exc!r}")

    def _discard(self, client: KafkaProducer) -> None:
        with self._lock:
            if self._client is client:
                self._client = None
        kafka_lifetime.end(client, timeout_s=0)


def producer(settings: KafkaSettings, client_id: str) -> Producer:
    """A producer whose ack means: on disk of every in-sync replica, once."""
    delivery_timeout_ms = int(settings.kafka_delivery_timeout_s * 1000)

    def connect() -> KafkaProducer:
        return kafka_lifetime.started(
            KafkaProducer,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=delivery_timeout_ms,
            request_timeout_ms=delivery_timeout_ms // 2,
            max_block_ms=delivery_timeout_ms // 2,
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
            reconnect_backoff_max_ms=RECONNECT_BACKOFF_MAX_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )

    return Producer(connect, settings.kafka_delivery_timeout_s)


def consumer(
    settings: KafkaSettings, group: str, client_id: str, max_poll_records: int
) -> KafkaConsumer:
    """A consumer that commits only when told to, and starts a new group at the oldest record.

    Raises Unavailable when no broker answers.
    """
    session_timeout_ms = int(settings.kafka_session_timeout_s * 1000)
    with translated("no Kafka broker answers"):
        return kafka_lifetime.started(
            KafkaConsumer,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            group_id=group,
            client_id=client_id,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=max_poll_records,
            max_poll_interval_ms=int(settings.kafka_max_poll_interval_s * 1000),
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=session_timeout_ms // HEARTBEATS_PER_SESSION,
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
            reconnect_backoff_max_ms=RECONNECT_BACKOFF_MAX_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )


class _Admin(KafkaAdminClient):  # type: ignore[misc]
    def _process_acl_operations(self, described: dict[str, Any]) -> dict[str, Any]:
        """Leave them as they are: not every broker sends bits that the library can name."""
        return described


class Rejoins(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Counts how often the group gave partitions to a consumer, on the client's own thread."""

    def __init__(self) -> None:
        self.count = 0

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self.count += 1

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """The next assignment is what counts."""


def seek_to_committed(consumer: KafkaConsumer, timeout_ms: int) -> None:
    """Read on from what the group has committed, else from the start. Raises KafkaError.

    After a rejoin the library goes on from its old positions. In the log of a broker that lost its
    records those may lie beyond the end, where nothing comes and not every broker says so.
    """
    for partition in consumer.assignment():
        committed = consumer.committed(partition, timeout_ms=timeout_ms)
        with suppress(ValueError):  # it moved away meanwhile
            consumer.seek(partition, committed or 0)


@contextmanager
def admin(settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    """A client for topics and groups. Raises Unavailable, also for what fails inside the block."""
    with translated("Kafka does not answer"):
        client = kafka_lifetime.started(
            _Admin,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            bootstrap_timeout_ms=ADMIN_TIMEOUT_MS,
            request_timeout_ms=ADMIN_TIMEOUT_MS,
        )
        try:
            yield client
        finally:
            client.close()


def ensure_topics(settings: KafkaSettings, partitions: dict[str, int], replication: int) -> None:
    """Create those of the topics that are missing. Raises Unavailable."""
    with admin(settings) as client:
        missing = partitions.keys() - set(client.list_topics())
        for topic in sorted(missing):
            _create(client, NewTopic(topic, partitions[topic], replication))


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the library's errors into Unavailable, but not those of a wrong configuration."""
    try:
        yield
    except KafkaConfigurationError:
        raise
    except (KafkaError, OSError) as exc:
        raise Unavailable(f"{what}: {exc!r}") from exc


def _create(client: KafkaAdminClient, topic: NewTopic) -> None:
    try:
        client.create_topics([topic], timeout_ms=ADMIN_TIMEOUT_MS)
        log.info("topic created", action="create_topic", topic=topic.name)
    except TopicAlreadyExistsError:
        log.info("topic exists", action="create_topic", topic=topic.name)


def trace_headers(trace_id: str) -> Headers:
    """W3C Trace Context: the trace of the upload, a span of this message's own."""
    span_id = secrets.token_hex(8)
    return [("traceparent", f"00-{trace_id}-{span_id}-01".encode())]
