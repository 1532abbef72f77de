"""Stand-ins for what the gateway talks to, which fail where a test wants it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.structs import OffsetAndMetadata

from gateway.backlog import Positions
from runtime.kafka import Producer, Rejoins


class Metadata(NamedTuple):
    """What a broker's acknowledgement says."""

    partition: int
    offset: int


class Future:
    """An acknowledgement that came, or the error that came instead."""

    def __init__(self, outcome: Metadata | Exception) -> None:
        self._outcome = outcome

    def get(self, timeout: float) -> Metadata:
        assert timeout > 0
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class KafkaClient:
    """The library's producer: records whose key is in `lost_keys` expire without an ack."""

    def __init__(self, lost_keys: Collection[bytes] = ()) -> None:
        self.lost_keys = lost_keys
        self.sent: list[bytes] = []

    def send(self, topic: str, *, key: bytes, value: bytes, headers: Any) -> Future:
        del topic, value, headers
        self.sent.append(key)
        if key in self.lost_keys:
            return Future(KafkaTimeoutError("expired"))
        return Future(Metadata(0, len(self.sent)))

    def flush(self, timeout: float | None = None) -> None:
        """Returns normally even when records expired, as the library's does."""

    def close(self, timeout: float | None = None) -> None:
        pass


def producer(client: KafkaClient) -> Producer:
    return Producer(lambda: client, delivery_timeout_s=1)


@dataclass
class KnownBacklog:
    """Positions that a test makes up and may change, or the error that asking for them raises."""

    known: Positions | Exception

    def positions(self) -> Positions:
        if isinstance(self.known, Exception):
            raise self.known
        return self.known


class Record(NamedTuple):
    """As much of a consumed record as the writer looks at."""

    topic: str
    value: bytes | None
    partition: int = 0
    offset: int = 0


@dataclass
class Consumer:
    """A partition of records, read and committed; `on_commit` may fail, as a crash would."""

    topic: str
    values: list[bytes]
    on_commit: Callable[[], None] = lambda: None
    committed: int = 0
    position: int = 0
    partitions: int = 1
    steps: list[str] = field(default_factory=list)

    def subscribe(self, topics: list[str], listener: Rejoins) -> None:
        assert self.topic in topics
        self.rejoins = listener

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        assert timeout_ms > 0
        start, self.position = self.position, len(self.values)
        fresh = [
            Record(self.topic, value, 0, start + number)
            for number, value in enumerate(self.values[start:])
        ]
        self.steps.append("poll")
        return {TopicPartition(self.topic, 0): fresh} if fresh else {}

    def commit(
        self, offsets: dict[TopicPartition, OffsetAndMetadata], timeout_ms: int | None = None
    ) -> None:
        assert timeout_ms, "a silent coordinator would hold the writer for ever"
        self.on_commit()
        self.steps.append("commit")
        (self.committed,) = (position.offset for position in offsets.values())

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(self.topic, number) for number in range(self.partitions)}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition.topic == self.topic
        self.position = offset
        self.steps.append("seek")
