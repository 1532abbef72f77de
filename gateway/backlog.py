"""How far Kafka's consumer groups have read: what still waits, and whether anybody reads at all."""

import time
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
from runtime.errors import Unavailable
from runtime.settings import KafkaSettings

REQUEST_TIMEOUT_MS = 5_000
FETCH_TIMEOUT_MS = 200


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
        return sum(max(0, end[partition] - read[partition]) for partition in end)

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
    end = _ends(reader, beginning)
    return (
        {tp.partition: committed[tp] or beginning[tp] for tp in partitions},
        {tp.partition: end[tp] for tp in partitions},
    )


def _ends(
    reader: KafkaConsumer, beginning: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """One past the last record of each partition.

    Asked for that, the embedded broker names the first record of the last batch; only the high
    watermark that comes with a fetch is sure.
    """
    ends: dict[TopicPartition, int] = reader.end_offsets(
        list(beginning), timeout_ms=REQUEST_TIMEOUT_MS
    )
    filled = [tp for tp in ends if ends[tp] > beginning[tp]]
    reader.assign(filled)
    for tp in filled:
        reader.seek(tp, ends[tp] - 1)
    give_up_at_s = time.monotonic() + REQUEST_TIMEOUT_MS / 1000
    while any(reader.highwater(tp) is None for tp in filled):
        if time.monotonic() > give_up_at_s:
            raise Unavailable("the last records of a topic cannot be read")
        reader.poll(timeout_ms=FETCH_TIMEOUT_MS)
    return {**ends, **{tp: reader.highwater(tp) for tp in filled}}
