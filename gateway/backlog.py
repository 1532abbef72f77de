"""How far Kafka's consumer groups have read: what still waits, and whether anybody reads at all."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition

from contracts.topics import (
    CLASSIFICATION_RESULTS,
    DISPATCHER_GROUP,
    IMAGE_PROCESSING,
    PROCESSING_ERRORS,
    WRITER_GROUP,
)
from gateway.outbox import Waiting
from runtime import kafka
from runtime.errors import Unavailable
from runtime.settings import KafkaSettings

REQUEST_TIMEOUT_MS = 5_000
FETCH_TIMEOUT_MS = 200

Offsets = dict[TopicPartition, int]


# By topic and partition.
ResultOffsets = Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class Positions:
    """What waits for the dispatchers, and how far the writers have read the answers.

    `waiting` was asked first: whatever is not in it had its answer sent before `results_end`.
    """

    waiting: Sequence[Waiting]
    results_read: ResultOffsets
    results_end: ResultOffsets


class Backlog:
    """Asks Kafka; joins no group."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    def positions(self) -> Positions:
        """Raises Unavailable."""
        committed, end = self._offsets(DISPATCHER_GROUP, IMAGE_PROCESSING)
        waiting = [Waiting(tp.partition, committed[tp], end[tp]) for tp in end]
        read, results_end = self._offsets(WRITER_GROUP, CLASSIFICATION_RESULTS, PROCESSING_ERRORS)
        return Positions(
            waiting,
            {(tp.topic, tp.partition): offset for tp, offset in read.items()},
            {(tp.topic, tp.partition): offset for tp, offset in results_end.items()},
        )

    def _offsets(self, group: str, *topics: str) -> tuple[Offsets, Offsets]:
        """Where the group will read next, and the end of the log, for each partition."""
        reader = kafka.consumer(self._settings, group, f"{group}-backlog", max_poll_records=1)
        try:
            with kafka.translated(f"offsets of {topics} are not known"):
                return _committed_and_end(reader, topics)
        finally:
            reader.close(autocommit=False, timeout_ms=0)


def _committed_and_end(reader: KafkaConsumer, topics: Sequence[str]) -> tuple[Offsets, Offsets]:
    partitions = [
        TopicPartition(topic, number)
        for topic in topics
        for number in reader.partitions_for_topic(topic) or ()
    ]
    committed = {tp: reader.committed(tp, timeout_ms=REQUEST_TIMEOUT_MS) for tp in partitions}
    beginning = reader.beginning_offsets(partitions, timeout_ms=REQUEST_TIMEOUT_MS)
    # What retention removed before it was read will not be read any more.
    next_read = {tp: max(committed[tp] or 0, beginning[tp]) for tp in partitions}
    return next_read, _ends(reader, beginning)


def _ends(reader: KafkaConsumer, beginning: Mapping[TopicPartition, int]) -> Offsets:
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
