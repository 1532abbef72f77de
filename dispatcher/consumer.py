"""Step 5: image events come from Kafka in batches, and offsets go back once they are answered.

An offset is committed only when all before it are answered. Batches are answered by threads while
this one keeps polling, so that a slow batch neither costs the group membership nor idles the next.
When enough batches are in flight the partitions are paused: memory stays bounded and the backlog
stays in Kafka.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import structlog
from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, TopicPartition
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

Offsets = dict[TopicPartition, OffsetAndMetadata]
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

    def begin(self, records: list[ConsumerRecord], batch: Future[None]) -> None:
        for record in records:
            self.ledger.start(record.partition, record.offset)
        metrics.IN_FLIGHT.inc(len(records))
        self.batches[batch] = records

    def collect(self) -> BaseException | None:
        """Enter finished batches into the ledger; returns what broke one of them."""
        error = None
        for batch in [batch for batch in list(self.batches) if batch.done()]:
            records = self.batches.pop(batch, [])
            metrics.IN_FLIGHT.dec(len(records))
            if batch.exception() is not None:
                error = batch.exception()
                continue
            for record in records:
                self.ledger.answer(record.partition, record.offset)
        return error

    def committable(self) -> Offsets:
        return {
            TopicPartition(IMAGE_PROCESSING, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in self.ledger.take_committable().items()
        }

    def settle(self, grace_s: float) -> Offsets:
        """Let batches in flight finish, within `grace_s`; returns what they made committable."""
        wait(list(self.batches), timeout=grace_s)
        self.collect()
        for records in self.batches.values():
            metrics.IN_FLIGHT.dec(len(records))
        return self.committable()


class ImageConsumer(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """The loop of the dispatcher's main thread; rebalances reach it on the client's own thread.

    They do so at any time, so whatever a turn does, it does to the assignment it began with.
    """

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
        self._must_reread = False

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
        leaving, self._current = self._current, _Assignment()
        self._commit(leaving.settle(self._rules.drain_grace_s))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._assigned = True
        log.info("partitions assigned", action="rebalance", partitions=_numbers(assigned))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Called before other members may read these partitions; must not block on the client."""
        self._assigned = False
        leaving, self._current = self._current, _Assignment()
        offsets = leaving.settle(REVOKE_GRACE_S)
        if offsets:
            with _commit_outcome():
                await self._consumer.commit_async(offsets)
        log.info("partitions revoked", action="rebalance", partitions=_numbers(revoked))

    def _turn(self) -> None:
        if self._is_full():
            wait(list(self._current.batches), POLL_RETRY_S, return_when=FIRST_COMPLETED)
        error = self._current.collect()
        if error is not None:
            log.error("batch was not answered", action="consume", error=repr(error))
            self._lifecycle.sleep(POLL_RETRY_S)
            self._must_reread = True
        if self._must_reread:
            self._reread()
        if time.monotonic() - self._last_commit_s >= self._rules.commit_interval_s:
            self._commit(self._current.committable())
        if self._is_full():
            self._keep_membership()
        elif not self._lifecycle.stopping:
            self._poll()

    def _is_full(self) -> bool:
        return len(self._current.batches) >= self._rules.batches_in_flight

    def _poll(self) -> None:
        current = self._current
        timeout_ms = BUSY_POLL_MS if current.batches else IDLE_POLL_MS
        polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=self._rules.batch_size)
        records = [record for batch in polled.values() for record in batch]
        if not records:
            return
        if current is not self._current:  # were they read before or after the rebalance?
            self._must_reread = True
            return
        current.begin(records, self._executor.submit(self._answer, records))

    def _keep_membership(self) -> None:
        """Poll without reading, which tells the group that this consumer lives."""
        partitions = self._consumer.assignment()
        self._consumer.pause(*partitions)
        self._consumer.poll(timeout_ms=0)
        self._consumer.resume(*(partitions & self._consumer.assignment()))

    def _reread(self) -> None:
        """Go back to what was committed: at least once, never a gap, so it must not end halfway."""
        leaving, self._current = self._current, _Assignment()
        self._commit(leaving.settle(REVOKE_GRACE_S))
        for partition in self._consumer.assignment():
            committed = self._consumer.committed(partition, timeout_ms=COMMIT_TIMEOUT_MS)
            with suppress(ValueError):  # it moved away meanwhile
                self._consumer.seek(partition, committed or 0)
        self._must_reread = False

    def _commit(self, offsets: Offsets) -> None:
        self._last_commit_s = time.monotonic()
        if offsets:
            with _commit_outcome():
                self._consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)


@contextmanager
def _commit_outcome() -> Iterator[None]:
    """A failed commit loses nothing: the records are read again, the writer sees duplicates."""
    try:
        yield
        metrics.COMMITS.labels("done").inc()
    except KafkaError as exc:
        metrics.COMMITS.labels("failed").inc()
        log.warning("offsets not committed", action="commit", error=repr(exc))


def _numbers(partitions: Collection[TopicPartition]) -> list[int]:
    return sorted(partition.partition for partition in partitions)
