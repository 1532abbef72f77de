"""Step 5: image events come from Kafka in batches, and offsets go back once they are answered.

An offset is committed only when all before it are answered. Batches are answered by threads while
this one keeps polling, so that a slow batch neither costs the group membership nor idles the next.
When enough batches are in flight the partitions are paused: memory stays bounded and the backlog
stays in Kafka.
"""

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from dataclasses import dataclass

import structlog
from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from contracts.topics import IMAGE_PROCESSING
from dispatcher import metrics
from dispatcher.assignment import Assignment, Offsets
from dispatcher.lease import Lease
from runtime import kafka
from runtime.lifecycle import Lifecycle, Pulse

log = structlog.get_logger(__name__)

IDLE_POLL_MS = 500
BUSY_POLL_MS = 50
# Batches of partitions that move away get this long to finish, else they are done twice. It is
# spent on the client's own thread, which sends no heartbeat meanwhile: well below a session.
REVOKE_GRACE_S = 2.0
# Short, as a stop waits for it; what fails is tried again.
COMMIT_TIMEOUT_MS = 2_000
COMMIT_RETRY_S = 1.0
POLL_RETRY_S = 1.0

AnswerBatch = Callable[[Sequence[ConsumerRecord], Lease], None]


@dataclass(frozen=True)
class Rules:
    batch_size: int
    batches_in_flight: int
    commit_interval_s: float
    drain_grace_s: float


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
        pulse: Pulse,
    ) -> None:
        self._consumer = consumer
        self._answer = answer
        self._executor = executor
        self._lifecycle = lifecycle
        self._rules = rules
        self._pulse = pulse
        self._current = Assignment(lifecycle)
        self._next_commit_s = 0.0
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
            self._pulse.beat()
            try:
                self._turn()
            except KafkaError as exc:
                log.warning("will retry", action="consume", error=repr(exc))
                self._lifecycle.sleep(POLL_RETRY_S)
        leaving = self._leave()
        leaving.settle(self._rules.drain_grace_s)
        self._commit(leaving)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._assigned = True
        self._must_reread = True  # the library's positions may be those of a log that is gone
        log.info("partitions assigned", action="rebalance", partitions=_numbers(assigned))

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Called before other members may read these partitions; must not block on the client."""
        self._assigned = False
        leaving = self._leave()
        leaving.settle(REVOKE_GRACE_S)
        if offsets := leaving.committable():
            try:
                await self._consumer.commit_async(offsets)
                _committed(leaving, offsets)
            except KafkaError as exc:
                _not_committed(exc)
        log.info("partitions revoked", action="rebalance", partitions=_numbers(revoked))

    def _leave(self) -> Assignment:
        leaving, self._current = self._current, Assignment(self._lifecycle)
        return leaving

    def _turn(self) -> None:
        current = self._current
        if self._is_full():
            wait(current.batches, POLL_RETRY_S, return_when=FIRST_COMPLETED)
        error = current.collect()
        if error is not None and not self._lifecycle.stopping:
            log.error("batch was not answered", action="consume", error=repr(error))
            self._must_reread = True
            self._lifecycle.sleep(POLL_RETRY_S)
        if self._lifecycle.stopping:  # the batches in flight get more time than a reread leaves
            return
        if self._must_reread:
            self._reread()
        if time.monotonic() >= self._next_commit_s:
            self._commit(self._current)
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
        current.begin(records, self._executor.submit(self._answer, records, current.lease))

    def _keep_membership(self) -> None:
        """Poll without reading, which tells the group that this consumer lives."""
        partitions = self._consumer.assignment()
        self._consumer.pause(*partitions)
        try:
            if self._consumer.poll(timeout_ms=0):  # of partitions that came in this very poll
                self._must_reread = True
        finally:
            self._consumer.resume(*(partitions & self._consumer.assignment()))

    def _reread(self) -> None:
        """Go back to what was committed: at least once, never a gap, so it must not end halfway."""
        self._must_reread = False  # first: a rebalance meanwhile asks for it again
        try:
            leaving = self._leave()
            leaving.settle(REVOKE_GRACE_S)
            self._commit(leaving)
            kafka.seek_to_committed(self._consumer, COMMIT_TIMEOUT_MS)
        except KafkaError:
            self._must_reread = True
            raise

    def _commit(self, assignment: Assignment) -> None:
        """What fails stays committable, for the next try."""
        pause_s = self._rules.commit_interval_s
        if offsets := assignment.committable():
            try:
                self._consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)
                _committed(assignment, offsets)
            except KafkaError as exc:
                _not_committed(exc)
                pause_s = COMMIT_RETRY_S
        self._next_commit_s = time.monotonic() + pause_s


def _committed(assignment: Assignment, offsets: Offsets) -> None:
    assignment.committed(offsets)
    metrics.COMMITS.labels("done").inc()


def _not_committed(exc: KafkaError) -> None:
    """Loses nothing: the records are read again, the writer sees duplicates."""
    metrics.COMMITS.labels("failed").inc()
    log.warning("offsets not committed", action="commit", error=repr(exc))


def _numbers(partitions: Collection[TopicPartition]) -> list[int]:
    return sorted(partition.partition for partition in partitions)
