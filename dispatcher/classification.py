"""Step 6: a batch of Kafka records goes in; every image is answered with labels or a failure.

    record -> event -> bytes -> pixels -> embedding -> scores -> answer on Kafka

An image that fails permanently is answered with its reason; one that may yet succeed is set aside
and tried again after its batch-mates were answered.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import structlog
from kafka.consumer.fetcher import ConsumerRecord

from contracts.events import (
    NO_TRACE,
    ImageClassified,
    ImageFailed,
    ImageSubmitted,
    InvalidEvent,
    image_id_of,
)
from contracts.manifest import Manifest
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
Embedding = npt.NDArray[np.float32]


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
            unanswered, unreadable = _read(records)
            if unreadable:
                self._publisher.publish(unreadable)
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
        list(self._decoders.map(lambda work: self._guarded(self._load, work), batch))
        ready = [work for work in batch if work.pixels is not None and work.answer is None]
        models = dict.fromkeys(work.event.model_key for work in ready)
        for model_key in models:
            self._classify(model_key, [work for work in ready if work.event.model_key == model_key])

    def _load(self, work: Work) -> None:
        """Fetch and decode one image, unless an earlier try did."""
        if work.pixels is not None:
            return
        manifest = self._artefacts.manifest(work.event.model_key)
        with metrics.STEP_SECONDS.labels("fetch").time():
            data = self._objects.get(work.event.s3_key)
        with metrics.STEP_SECONDS.labels("decode").time():
            work.pixels = prepare(data, manifest.preprocessing)

    def _classify(self, model_key: str, batch: Sequence[Work]) -> None:
        """Embed and score images of one model; a batch that fails is tried one by one."""
        try:
            manifest = self._artefacts.manifest(model_key)
            embeddings = self._embedder.embed(manifest, [_pixels(work) for work in batch])
        except Exception as exc:
            if len(batch) > 1 and not isinstance(exc, Unavailable):
                for work in batch:
                    self._classify(model_key, [work])
            else:
                for work in batch:
                    self._failed(work, exc)
            return
        for work, embedding in zip(batch, embeddings, strict=True):
            self._guarded(partial(self._score, manifest=manifest, embedding=embedding), work)

    def _score(self, work: Work, manifest: Manifest, embedding: Embedding) -> None:
        event = work.event
        label_set = self._artefacts.label_set(event.label_set_key)
        if label_set.embeddings.shape[1:] != embedding.shape:
            raise Permanent("bad_label_set", "The label set belongs to another model.")
        work.answer = ImageClassified(
            image_id=event.image_id,
            scores=top_k(embedding, label_set, manifest.logit_scale, self._top_k),
            label_set=event.label_set,
            model=manifest.model,
            model_version=manifest.version,
            trace_id=event.trace_id,
        )

    def _guarded(self, step: Callable[[Work], None], work: Work) -> None:
        """Whatever a step raises concerns its image alone."""
        try:
            step(work)
        except Exception as exc:
            self._failed(work, exc)

    def _failed(self, work: Work, exc: Exception) -> None:
        if isinstance(exc, Permanent):
            _fail(work, exc)
        elif isinstance(exc, Retryable):
            self._failed_try(work, exc)
        else:  # a fault of ours: this image must not hold up those behind it
            log.error("unexpected error", action="classify", image_id=work.event.image_id,
                      trace_id=work.event.trace_id, exc_info=exc)  # fmt: skip
            self._failed_try(work, Retryable(f"The dispatcher failed on it: {exc!r}"))

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


def _read(records: Sequence[ConsumerRecord]) -> tuple[list[Work], list[ImageFailed]]:
    """Images to classify, and dead letters for records that are no event."""
    works: list[Work] = []
    unreadable: list[ImageFailed] = []
    for record in records:
        origin = f"{record.topic}-{record.partition}-{record.offset}"
        try:
            works.append(Work(ImageSubmitted.from_json(record.value), origin))
        except InvalidEvent as exc:
            log.error("record is no event", action="classify", origin=origin, error=str(exc))
            if image_id := image_id_of(record.key):
                unreadable.append(_unreadable(image_id, origin, exc))
    return works, unreadable


def _unreadable(image_id: int, origin: str, exc: InvalidEvent) -> ImageFailed:
    return ImageFailed(
        image_id=image_id,
        reason="invalid_event",
        detail=f"The image's event cannot be read: {exc}.",
        attempts=1,
        origin=origin,
        trace_id=NO_TRACE,
    )


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
