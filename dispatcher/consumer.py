"""Step 5: image events come from Kafka in batches, and offsets go back once they are answered.

An offset is committed only when all before it are answered. Batches are answered by threads while
this one keeps polling, so that a slow batch neither costs the group membership nor idles the next.
When enough batches are in flight the partitions are paused: memory stays bounded and the backlog
stays in Kafka.
"""

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from contracts.topics import IMAGE_PROCESSING
from dispatcher import metrics
from dispatcher.offsets import OffsetLedger
from runtime.lifecycle import Lifecycle

log = structlog.get_logger(__name__)

IDLE_POLL_MS = 500
BUSY_POLL_MS = 50
# Batches of partitions that move away get this long to finish, else they are done twice.
REVOKE_GRACE_S = 2.0
COMMIT_TIMEOUT_MS = 5_000
POLL_RETRY_S = 1.0

AnswerBatch = Callable[[Sequence[ConsumerRecord]], None]


@dataclass(frozen=True)
class Rules:
    batch_size: int
    batches_in_flight: int
    commit_interval_s: float
    drain_grace_s: float


@dataclass
class _Assignment:
    """Between two rebalances: which offsets are open, and the batches at work on them."""

    ledger: OffsetLedger = field(default_factory=OffsetLedger)
    batches: dict[Future[None], list[ConsumerRecord]] = field(default_factory=dict)


class ImageConsumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """The loop of the dispatcher's main thread."""

    def __init__(
        self,
        consumer: KafkaConsumer,
        answer: AnswerBatch,
        executor: Executor,
        lifecycle: Lifecycle,
        rules: Rules,
    ) -> None:
        self._consumer = consumer
        self._answer = answer
        self._executor = executor
        self._lifecycle = lifecycle
        self._rules = rules
        self._current = _Assignment()
        self._last_commit_s = 0.0
        self._assigned = False

    @property
    def is_ready(self) -> bool:
        """Whether the group has given this consumer its partitions."""
        return self._assigned

    def run(self) -> None:
        """Until stopped; then batches in flight get their grace, and what they did is committed."""
        self._consumer.subscribe([IMAGE_PROCESSING], listener=self)
        while not self._lifecycle.stopping:
            try:
                self._turn()
            except KafkaError as exc:
                log.warning("will retry", action="consume", error=repr(exc))
                self._lifecycle.sleep(POLL_RETRY_S)
        self._settle(self._rules.drain_grace_s)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._assigned = True
        log.info("partitions assigned", action="rebalance", partitions=_numbers(assigned))

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Called from within poll, before other members may read these partitions."""
        self._assigned = False
        self._settle(REVOKE_GRACE_S)
        self._current = _Assignment()
        log.info("partitions revoked", action="rebalance", partitions=_numbers(revoked))

    def _turn(self) -> None:
        if self._is_full():
            wait(self._current.batches, timeout=POLL_RETRY_S, return_when=FIRST_COMPLETED)
        self._collect()
        if time.monotonic() - self._last_commit_s >= self._rules.commit_interval_s:
            self._commit()
        if self._is_full():
            self._keep_membership()
        else:
            self._poll()

    def _is_full(self) -> bool:
        return len(self._current.batches) >= self._rules.batches_in_flight

    def _poll(self) -> None:
        timeout_ms = BUSY_POLL_MS if self._current.batches else IDLE_POLL_MS
        polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=self._rules.batch_size)
        records = [record for batch in polled.values() for record in batch]
        if not records:
            return
        for record in records:
            self._current.ledger.start(record.partition, record.offset)
        metrics.IN_FLIGHT.inc(len(records))
        self._current.batches[self._executor.submit(self._answer, records)] = records

    def _keep_membership(self) -> None:
        """Poll without reading, which tells the group that this consumer lives."""
        partitions = self._consumer.assignment()
        self._consumer.pause(*partitions)
        self._consumer.poll(timeout_ms=0)
        self._consumer.resume(*(partitions & self._consumer.assignment()))

    def _collect(self) -> None:
        """Enter finished batches into the ledger; a batch that broke is read again."""
        for future in [future for future in self._current.batches if future.done()]:
            records = self._current.batches.pop(future)
            metrics.IN_FLIGHT.dec(len(records))
            error = future.exception()
            if error is not None:
                log.error("batch was not answered", action="consume", error=repr(error))
                self._lifecycle.sleep(POLL_RETRY_S)
                self._reread()
                return
            for record in records:
                self._current.ledger.answer(record.partition, record.offset)

    def _reread(self) -> None:
        """Go back to what was committed: at least once, never a gap."""
        self._settle(REVOKE_GRACE_S)
        self._current = _Assignment()
        for partition in self._consumer.assignment():
            committed = self._consumer.committed(partition, timeout_ms=COMMIT_TIMEOUT_MS)
            if committed is None:
                self._consumer.seek_to_beginning(partition)
            else:
                self._consumer.seek(partition, committed)

    def _commit(self) -> None:
        self._last_commit_s = time.monotonic()
        offsets = {
            TopicPartition(IMAGE_PROCESSING, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in self._current.ledger.take_committable().items()
        }
        if not offsets:
            return
        try:
            self._consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)
            metrics.COMMITS.labels("done").inc()
        except KafkaError as exc:  # others read these records again; the writer sees duplicates
            metrics.COMMITS.labels("failed").inc()
            log.warning("offsets not committed", action="commit", error=repr(exc))

    def _settle(self, grace_s: float) -> None:
        """Let batches in flight finish, within `grace_s`, and commit what they answered."""
        wait(self._current.batches, timeout=grace_s)
        for future in [future for future in self._current.batches if future.done()]:
            records = self._current.batches.pop(future)
            metrics.IN_FLIGHT.dec(len(records))
            if future.exception() is None:
                for record in records:
                    self._current.ledger.answer(record.partition, record.offset)
        for records in self._current.batches.values():
            metrics.IN_FLIGHT.dec(len(records))
        self._commit()


def _numbers(partitions: Collection[TopicPartition]) -> list[int]:
    return sorted(partition.partition for partition in partitions)
