"""Step 4: rows without an acknowledged event go in, Kafka events go out, rows are marked."""

import time
from collections.abc import Callable

import structlog

from contracts.events import ImageSubmitted, message_key
from contracts.topics import IMAGE_PROCESSING
from gateway import metrics, outbox
from gateway.database import Database
from gateway.notifications import Listener
from gateway.outbox import Unpublished
from runtime.backoff import Backoff
from runtime.errors import Retryable, Unavailable
from runtime.kafka import Ack, Producer, Record, trace_headers
from runtime.lifecycle import Lifecycle, Pulse

log = structlog.get_logger(__name__)

RETRY = Backoff(base_s=0.2, cap_s=5.0)


class Relay:
    """Publishes each row at least once: a crash between ack and commit sends it again.

    Several relays may run; each skips the rows that another has locked.
    """

    def __init__(
        self,
        database: Database,
        producer: Producer,
        ensure_topics: Callable[[], None],
        batch: int,
    ) -> None:
        self._database = database
        self._producer = producer
        self._ensure_topics = ensure_topics
        self._batch = batch

    def publish_batch(self) -> int:
        """Send the oldest waiting rows; returns how many were acknowledged and marked.

        Raises Retryable when Postgres or Kafka is away; rows that got no ack stay in the outbox.
        """
        with self._database.transaction() as cursor:
            rows = outbox.claim(cursor, self._batch)
            if not rows:
                return 0
            started_s = time.monotonic()
            outcomes = self._producer.send_all([_record(row) for row in rows])
            acks = [
                (row.id, outcome)
                for row, outcome in zip(rows, outcomes, strict=True)
                if isinstance(outcome, Ack)
            ]
            if acks:
                outbox.mark_published(cursor, acks)
        metrics.OUTBOX_BATCH_SECONDS.observe(time.monotonic() - started_s)
        self._report(rows, acks)
        failures = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
        if failures:
            metrics.OUTBOX_FAILED.inc(len(failures))
            raise failures[0]
        return len(acks)

    def run(self, listener: Listener, lifecycle: Lifecycle, pulse: Pulse, poll_s: float) -> None:
        """Publish until stopped: woken by NOTIFY, else by the poll."""
        failures = 0
        while not lifecycle.stopping:
            pulse.beat()
            try:
                if failures:
                    self._ensure_topics()  # a broker that lost its log lost its topics too
                sent = self.publish_batch()
                failures = 0
                if sent < self._batch:
                    listener.wait(poll_s)
            except Retryable as exc:
                failures += 1
                delay_s = RETRY.delay_s(failures)
                log.warning("will retry", action="publish", error=str(exc), delay_s=delay_s)
                lifecycle.sleep(delay_s)
        listener.close()

    def _report(self, rows: list[Unpublished], acks: list[tuple[int, Ack]]) -> None:
        metrics.OUTBOX_PUBLISHED.inc(len(acks))
        acked = dict(acks)
        for row in rows:
            if row.id in acked:
                log.info("image published", action="publish", image_id=row.id,
                         trace_id=row.trace_id, partition=acked[row.id].partition,
                         offset=acked[row.id].offset)  # fmt: skip


def _record(row: Unpublished) -> Record:
    event = ImageSubmitted(
        image_id=row.id,
        s3_key=row.s3_key,
        media_type=row.media_type,
        model_key=row.model_key,
        label_set=row.label_set,
        label_set_key=row.label_set_key,
        trace_id=row.trace_id,
    )
    return Record(
        IMAGE_PROCESSING, message_key(row.id), event.to_json(), trace_headers(row.trace_id)
    )
