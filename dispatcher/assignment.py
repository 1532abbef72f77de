"""Batches that were begun go in, offsets that may be committed come out, between two rebalances."""

import threading
from concurrent.futures import Future, wait

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata

from contracts.topics import IMAGE_PROCESSING
from dispatcher import metrics
from dispatcher.lease import Lease
from dispatcher.offsets import OffsetLedger
from runtime.lifecycle import Lifecycle

Offsets = dict[TopicPartition, OffsetAndMetadata]


class Assignment:
    """Which offsets are open, and the batches at work on them; safe for several threads."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lease = Lease(lifecycle)
        self._lock = threading.Lock()
        self._ledger = OffsetLedger()
        self._batches: dict[Future[None], list[ConsumerRecord]] = {}

    @property
    def batches(self) -> list[Future[None]]:
        with self._lock:
            return list(self._batches)

    def begin(self, records: list[ConsumerRecord], batch: Future[None]) -> None:
        with self._lock:
            if self.lease.is_over:  # a rebalance was faster, and the batch will notice
                return
            for record in records:
                self._ledger.start(record.partition, record.offset)
            metrics.IN_FLIGHT.inc(len(records))
            self._batches[batch] = records

    def collect(self) -> BaseException | None:
        """Enter finished batches into the ledger; returns what broke one of them."""
        error = None
        with self._lock:
            for batch in [batch for batch in self._batches if batch.done()]:
                records = self._forget(batch)
                if batch.exception() is not None:
                    error = batch.exception()
                    continue
                for record in records:
                    self._ledger.answer(record.partition, record.offset)
        return error

    def committable(self) -> Offsets:
        with self._lock:
            return {
                TopicPartition(IMAGE_PROCESSING, partition): OffsetAndMetadata(offset, "", -1)
                for partition, offset in self._ledger.committable().items()
            }

    def committed(self, offsets: Offsets) -> None:
        with self._lock:
            self._ledger.committed({at.partition: taken.offset for at, taken in offsets.items()})

    def settle(self, grace_s: float) -> None:
        """Let running batches finish within `grace_s`; those not begun, or still at it, are left.

        What is left is never entered as answered, and ends where it would next wait.
        """
        with self._lock:
            for batch in [batch for batch in self._batches if batch.cancel()]:
                self._forget(batch)
        wait(self.batches, timeout=grace_s)
        self.collect()
        with self._lock:
            self.lease.end()
            for batch in list(self._batches):
                self._forget(batch)

    def _forget(self, batch: Future[None]) -> list[ConsumerRecord]:
        records = self._batches.pop(batch)
        metrics.IN_FLIGHT.dec(len(records))
        return records
