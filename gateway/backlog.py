"""How far Kafka's consumer groups have read: what still waits, and whether anybody reads at all."""

from collections.abc import Mapping
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition

from contracts.topics import (
    CLASSIFICATION_RESULTS,
    DISPATCHER_GROUP,
    IMAGE_PROCESSING,
    PROCESSING_ERRORS,
    WRITER_GROUP,
)
from runtime import kafka
from runtime.settings import KafkaSettings

REQUEST_TIMEOUT_MS = 5_000


@dataclass(frozen=True)
class Positions:
    """Per partition of the image topic: the dispatchers' committed offset and the log's end.

    `results_unread` counts what the writers have yet to read, failures included.
    """

    committed: Mapping[int, int]
    end: Mapping[int, int]
    results_unread: int

    def is_waiting(self, partition: int, offset: int) -> bool:
        """Whether the record at `offset` is in the log and not yet answered for."""
        return self.committed.get(partition, 0) <= offset < self.end.get(partition, 0)


class Backlog:
    """Asks Kafka; joins no group."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    def positions(self) -> Positions:
        """Raises Unavailable."""
        committed, end = self._offsets(DISPATCHER_GROUP, IMAGE_PROCESSING)
        unread = self._unread(CLASSIFICATION_RESULTS) + self._unread(PROCESSING_ERRORS)
        return Positions(committed, end, unread)

    def _unread(self, topic: str) -> int:
        read, end = self._offsets(WRITER_GROUP, topic)
        return sum(end[partition] - read[partition] for partition in end)

    def _offsets(self, group: str, topic: str) -> tuple[dict[int, int], dict[int, int]]:
        reader = kafka.consumer(self._settings, group, f"{group}-backlog", max_poll_records=1)
        try:
            with kafka.translated(f"offsets of {topic} are not known"):
                return _committed_and_end(reader, topic)
        finally:
            reader.close(autocommit=False, timeout_ms=0)


def _committed_and_end(reader: KafkaConsumer, topic: str) -> tuple[dict[int, int], dict[int, int]]:
    partitions = [TopicPartition(topic, p) for p in reader.partitions_for_topic(topic) or ()]
    committed = {tp: reader.committed(tp, timeout_ms=REQUEST_TIMEOUT_MS) for tp in partitions}
    beginning = reader.beginning_offsets(partitions, timeout_ms=REQUEST_TIMEOUT_MS)
    end = reader.end_offsets(partitions, timeout_ms=REQUEST_TIMEOUT_MS)
    return (
        {tp.partition: committed[tp] or beginning[tp] for tp in partitions},
        {tp.partition: end[tp] for tp in partitions},
    )
