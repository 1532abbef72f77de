"""Steps 8 and 9: results and failures come from Kafka; terminal rows and cache entries go out."""

from collections.abc import Mapping, Sequence

import structlog
from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from contracts.events import MODEL_GONE, ImageClassified, ImageFailed, InvalidEvent
from contracts.topics import CLASSIFICATION_RESULTS, PROCESSING_ERRORS
from gateway import embeddings, images, metrics, notifications, outbox, resource
from gateway.cache import Cache
from gateway.database import Database
from gateway.images import Image
from runtime import kafka
from runtime.backoff import Backoff
from runtime.errors import Permanent, Retryable
from runtime.lifecycle import Lifecycle, Pulse

log = structlog.get_logger(__name__)

TOPICS = (CLASSIFICATION_RESULTS, PROCESSING_ERRORS)
POLL_TIMEOUT_MS = 500
COMMIT_TIMEOUT_MS = 5_000
RETRY = Backoff(base_s=0.2, cap_s=5.0)

Polled = Mapping[TopicPartition, Sequence[ConsumerRecord]]


class Writer:
    """One transaction a poll, then Redis, then the offsets: a crash repeats, never skips."""

    def __init__(self, database: Database, cache: Cache, image_base_url: str) -> None:
        self._database = database
        self._cache = cache
        self._base_url = image_base_url
        self._has_polled = False

    @property
    def is_ready(self) -> bool:
        """Whether it has partitions, and has failed at nothing since."""
        return self._has_polled

    def run(self, consumer: KafkaConsumer, lifecycle: Lifecycle, pulse: Pulse) -> None:
        rejoins = kafka.Rejoins()
        consumer.subscribe(list(TOPICS), listener=rejoins)
        failures, joined = 0, 0
        while not lifecycle.stopping:
            pulse.beat()
            polled: Polled = {}
            try:
                polled = consumer.poll(timeout_ms=POLL_TIMEOUT_MS)
                if (rejoined := rejoins.count) != joined:
                    kafka.seek_to_committed(consumer, COMMIT_TIMEOUT_MS)
                    joined = rejoined
                elif polled:
                    self.write([record for batch in polled.values() for record in batch])
                    consumer.commit(_after(polled), timeout_ms=COMMIT_TIMEOUT_MS)
                self._has_polled = bool(consumer.assignment())
                failures = 0
            except (Retryable, KafkaError) as exc:
                self._has_polled = False
                failures += 1
                delay_s = RETRY.delay_s(failures)
                log.warning("will retry", action="write", error=repr(exc), delay_s=delay_s)
                _rewind(consumer, polled)
                lifecycle.sleep(delay_s)

    def write(self, records: Sequence[ConsumerRecord]) -> list[Image]:
        """Returns the images that became terminal. Raises Retryable; writing again is harmless.

        Images whose model is gone have not failed: they are to be answered by another one.
        """
        with metrics.WRITER_SECONDS.time():
            metrics.WRITER_BATCH.observe(len(records))
            results, failures = _decode(records)
            gone = [failure for failure in failures if failure.reason == MODEL_GONE]
            failures = [failure for failure in failures if failure.reason != MODEL_GONE]
            done = self._store(results, failures)
            self._cache.put_terminal({i.id: resource.to_json(i, self._base_url) for i in done})
            notifications.announce_terminal(self._database, (image.id for image in done))
            self._put_back(gone)
        metrics.RESULTS_DUPLICATE.inc(len(results) + len(failures) - len(done))
        for image in done:
            _report(image)
        return done

    def _store(
        self, results: Sequence[ImageClassified], failures: Sequence[ImageFailed]
    ) -> list[Image]:
        """All in one transaction, or each alone where one of them cannot be stored at all."""
        try:
            with self._database.transaction() as cursor:
                done = _complete(cursor, results) if results else []
                done += images.fail(cursor, failures) if failures else []
                return done
        except (Permanent, ValueError) as exc:  # ValueError: text that the driver cannot encode
            if len(results) + len(failures) > 1:
                alone = [self._store([result], []) for result in results]
                alone += [self._store([], [failure]) for failure in failures]
                return [image for stored in alone for image in stored]
            metrics.RESULTS_INVALID.inc()
            events: list[ImageClassified | ImageFailed] = [*results, *failures]
            for event in events:
                log.error("event cannot be stored", action="write", image_id=event.image_id,
                          trace_id=event.trace_id, error=str(exc))  # fmt: skip
            return []

    def _put_back(self, gone: Sequence[ImageFailed]) -> None:
        if gone:
            with self._database.statement() as cursor:
                count = outbox.await_model(cursor, gone)
            log.warning("model is gone", action="write", images=len(gone), put_back=count)


def _complete(cursor: Cursor, results: Sequence[ImageClassified]) -> list[Image]:
    """Labels and embedding are of the same result, where an image has several."""
    firsts = {result.image_id: result for result in reversed(results)}
    done = images.complete(cursor, list(firsts.values()))
    embeddings.keep(cursor, [firsts[image.id] for image in done])
    return done


def _decode(
    records: Sequence[ConsumerRecord],
) -> tuple[list[ImageClassified], list[ImageFailed]]:
    """Events by kind; a record that is no event is logged and passed over."""
    results: list[ImageClassified] = []
    failures: list[ImageFailed] = []
    for record in records:
        try:
            if record.topic == CLASSIFICATION_RESULTS:
                results.append(ImageClassified.from_json(record.value))
            else:
                failures.append(ImageFailed.from_json(record.value))
        except InvalidEvent as exc:
            metrics.RESULTS_INVALID.inc()
            log.error("record is no event", action="write", topic=record.topic, error=str(exc),
                      partition=record.partition, offset=record.offset)  # fmt: skip
    return results, failures


def _after(polled: Polled) -> dict[TopicPartition, OffsetAndMetadata]:
    """The offsets to commit: one past the last record of each partition."""
    return {
        partition: OffsetAndMetadata(batch[-1].offset + 1, "", -1)
        for partition, batch in polled.items()
    }


def _rewind(consumer: KafkaConsumer, polled: Polled) -> None:
    """Read the same records again at the next poll, where the partitions are still ours."""
    for partition, batch in polled.items():
        if partition in consumer.assignment():
            consumer.seek(partition, batch[0].offset)


def _report(image: Image) -> None:
    latency_s = (image.updated_at - image.created_at).total_seconds()
    metrics.CLASSIFICATIONS.labels(image.status.value).inc()
    metrics.CLASSIFICATION_SECONDS.observe(latency_s)
    log.info("image is terminal", action="write", image_id=image.id, trace_id=image.trace_id,
             status=image.status.value, latency_ms=round(latency_s * 1000))  # fmt: skip
