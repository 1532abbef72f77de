"""Step 7: labels and failures go in, and are on Kafka once `publish` returns."""

from collections.abc import Sequence

import structlog

from contracts.events import ImageClassified, ImageFailed, message_key
from contracts.topics import CLASSIFICATION_RESULTS, PROCESSING_ERRORS
from dispatcher import metrics
from dispatcher.lease import Lease
from runtime.backoff import Backoff
from runtime.errors import Unavailable
from runtime.kafka import Ack, Producer, Record, trace_headers

log = structlog.get_logger(__name__)

Answer = ImageClassified | ImageFailed


class Publisher:
    """Waits for every acknowledgement, and sends again what got none, while the lease lasts."""

    def __init__(self, producer: Producer, backoff: Backoff) -> None:
        self._producer = producer
        self._backoff = backoff

    def publish(self, answers: Sequence[Answer], lease: Lease) -> None:
        """Raises Stopped; then some answers may not have been acknowledged."""
        unsent = [_record(answer) for answer in answers]
        attempt = 0
        with metrics.STEP_SECONDS.labels("publish").time():
            while unsent:
                unsent = self._send(unsent)
                if unsent:
                    attempt += 1
                    self._wait(attempt, len(unsent), lease)

    def _send(self, records: list[Record]) -> list[Record]:
        """Returns those that were not acknowledged."""
        try:
            outcomes = self._producer.send_all(records)
        except Unavailable:
            return records
        return [
            record
            for record, outcome in zip(records, outcomes, strict=True)
            if not isinstance(outcome, Ack)
        ]

    def _wait(self, attempt: int, count: int, lease: Lease) -> None:
        delay_s = self._backoff.delay_s(attempt)
        metrics.RETRIES.labels("kafka").inc(count)
        log.warning("will retry", action="publish", attempt=attempt, count=count, delay_s=delay_s)
        lease.sleep(delay_s, "publish")


def _record(answer: Answer) -> Record:
    topic = CLASSIFICATION_RESULTS if isinstance(answer, ImageClassified) else PROCESSING_ERRORS
    return Record(
        topic, message_key(answer.image_id), answer.to_json(), trace_headers(answer.trace_id)
    )
