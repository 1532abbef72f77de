"""Step 6: a batch of Kafka records goes in; every image is answered with labels or a failure.

    record -> event -> bytes -> pixels -> embedding -> scores -> answer on Kafka

An image that fails permanently is answered with its reason; one that may yet succeed is set aside
and tried again after its batch-mates were answered.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import structlog
from kafka.consumer.fetcher import ConsumerRecord

from contracts.events import ImageClassified, ImageFailed, ImageSubmitted, InvalidEvent
from dispatcher import metrics
from dispatcher.artefacts import Artefacts
from dispatcher.preprocessing import Pixels, prepare
from dispatcher.publisher import Answer, Publisher
from dispatcher.scoring import top_k
from dispatcher.triton import Embedder
from runtime.backoff import Backoff
from runtime.errors import Permanent, Retryable, Unavailable
from runtime.lifecycle import Lifecycle, Stopped
from runtime.objects import ObjectStore

log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass
class Work:
    """An image on its way: what is known so far, and how often it failed by itself."""

    event: ImageSubmitted
    origin: str
    pixels: Pixels | None = None
    attempts: int = 1
    answer: Answer | None = None


@dataclass(frozen=True)
class RetryRules:
    """`max_attempts` bounds failures of an image's own; a dependency that is away never counts."""

    max_attempts: int
    backoff: Backoff


class Classifier:
    """Answers batches; one instance serves several threads."""

    def __init__(
        self,
        objects: ObjectStore,
        artefacts: Artefacts,
        embedder: Embedder,
        publisher: Publisher,
        decoders: Executor,
        lifecycle: Lifecycle,
        retry: RetryRules,
        top_k: int,
    ) -> None:
        self._objects = objects
        self._artefacts = artefacts
        self._embedder = embedder
        self._publisher = publisher
        self._decoders = decoders
        self._lifecycle = lifecycle
        self._retry = retry
        self._top_k = top_k

    def answer(self, records: Sequence[ConsumerRecord]) -> None:
        """Returns once Kafka has acknowledged the answer of every record.

        Raises Stopped; records whose answer was not acknowledged must then be read again.
        """
        with metrics.BATCH_SECONDS.time():
            unanswered = [work for work in map(_work, records) if work is not None]
            attempt = 0
            while unanswered:
                self._try(unanswered)
                answered = [work for work in unanswered if work.answer is not None]
                self._publisher.publish([work.answer for work in answered if work.answer])
                _report(answered)
                unanswered = [work for work in unanswered if work.answer is None]
                if unanswered:
                    attempt += 1
                    self._set_aside(attempt, len(unanswered))

    def _try(self, batch: Sequence[Work]) -> None:
        list(self._decoders.map(self._load, [work for work in batch if work.answer is None]))
        ready = [work for work in batch if work.pixels is not None and work.answer is None]
        models = dict.fromkeys(work.event.model_key for work in ready)
        for model_key in models:
            self._classify(model_key, [work for work in ready if work.event.model_key == model_key])

    def _load(self, work: Work) -> None:
        """Fetch and decode one image, unless an earlier try did."""
        if work.pixels is not None:
            return
        try:
            manifest = self._artefacts.manifest(work.event.model_key)
            with metrics.STEP_SECONDS.labels("fetch").time():
                data = self._objects.get(work.event.s3_key)
            with metrics.STEP_SECONDS.labels("decode").time():
                work.pixels = prepare(data, manifest.preprocessing)
        except Permanent as exc:
            _fail(work, exc)
        except Retryable as exc:
            self._failed_try(work, exc)

    def _classify(self, model_key: str, batch: Sequence[Work]) -> None:
        """Embed and score images of one model; a batch that is refused is tried one by one."""
        try:
            manifest = self._artefacts.manifest(model_key)
            embeddings = self._embedder.embed(manifest, [_pixels(work) for work in batch])
        except Unavailable as exc:
            for work in batch:
                self._failed_try(work, exc)
            return
        except (Permanent, Retryable) as exc:
            if len(batch) > 1:
                for work in batch:
                    self._classify(model_key, [work])
            elif isinstance(exc, Permanent):
                _fail(batch[0], exc)
            else:
                self._failed_try(batch[0], exc)
            return
        for work, embedding in zip(batch, embeddings, strict=True):
            self._score(work, embedding)

    def _score(self, work: Work, embedding: np.ndarray) -> None:
        event = work.event
        try:
            manifest = self._artefacts.manifest(event.model_key)
            label_set = self._artefacts.label_set(event.label_set_key)
        except Permanent as exc:
            _fail(work, exc)
            return
        except Retryable as exc:
            self._failed_try(work, exc)
            return
        if label_set.embeddings.shape[1:] != embedding.shape:
            _fail(work, Permanent("bad_label_set", "The label set belongs to another model."))
            return
        work.answer = ImageClassified(
            image_id=event.image_id,
            scores=top_k(embedding, label_set, manifest.logit_scale, self._top_k),
            label_set=event.label_set,
            model=manifest.model,
            model_version=manifest.version,
            trace_id=event.trace_id,
        )

    def _failed_try(self, work: Work, exc: Retryable) -> None:
        if isinstance(exc, Unavailable):
            metrics.RETRIES.labels("unavailable").inc()
            return
        metrics.RETRIES.labels("failed").inc()
        if work.attempts >= self._retry.max_attempts:
            _fail(work, Permanent("gave_up", f"{exc} (in each of {work.attempts} attempts)"))
        work.attempts += 1

    def _set_aside(self, attempt: int, count: int) -> None:
        delay_s = self._retry.backoff.delay_s(attempt)
        log.warning("will retry", action="classify", attempt=attempt, count=count, delay_s=delay_s)
        self._lifecycle.sleep(delay_s)
        if self._lifecycle.stopping:
            raise Stopped("classify")


def _work(record: ConsumerRecord) -> Work | None:
    """None where a record is no event and does not even say which image it is about."""
    origin = f"{record.topic}-{record.partition}-{record.offset}"
    try:
        return Work(ImageSubmitted.from_json(record.value), origin)
    except InvalidEvent as exc:
        log.error("record is no event", action="classify", origin=origin, error=str(exc))
        return None


def _pixels(work: Work) -> Pixels:
    assert work.pixels is not None
    return work.pixels


def _fail(work: Work, exc: Permanent) -> None:
    work.answer = ImageFailed(
        image_id=work.event.image_id,
        reason=exc.reason,
        detail=exc.detail,
        attempts=work.attempts,
        origin=work.origin,
        trace_id=work.event.trace_id,
    )


def _report(answered: Sequence[Work]) -> None:
    for work in answered:
        classified = isinstance(work.answer, ImageClassified)
        metrics.IMAGES.labels("classified" if classified else "failed").inc()
        log.info(
            "image classified" if classified else "image failed",
            action="classify",
            image_id=work.event.image_id,
            trace_id=work.event.trace_id,
            **({} if not isinstance(work.answer, ImageFailed) else {"reason": work.answer.reason}),
        )
