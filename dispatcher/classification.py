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

from contracts.events import ImageClassified
from contracts.manifest import Manifest
from dispatcher import metrics
from dispatcher.absence import ModelGone
from dispatcher.artefacts import Artefacts
from dispatcher.fetching import Originals, Unreadable
from dispatcher.lease import Lease
from dispatcher.preprocessing import Pixels, prepare
from dispatcher.publisher import Publisher
from dispatcher.triton import Embedder
from dispatcher.work import Work, read, report
from runtime.artefacts import BadArtefact
from runtime.backoff import Backoff
from runtime.errors import Permanent, Retryable, Unavailable
from zero_shot.scoring import top_k

log = structlog.get_logger(__name__)
Embedding = npt.NDArray[np.float32]

WIRE_FLOAT = "<f4"  # as contracts.events.ImageClassified says

# A store may throttle images while it serves manifests, so it takes longer to blame an image.
UNREADABLE_PATIENCE = 4


@dataclass(frozen=True)
class RetryRules:
    """`max_attempts` bounds failures of an image's own; a dependency that is away never counts."""

    max_attempts: int
    backoff: Backoff

    def attempts_for(self, exc: Retryable) -> int:
        return self.max_attempts * (UNREADABLE_PATIENCE if isinstance(exc, Unreadable) else 1)


class Classifier:
    """Answers batches; one instance serves several threads."""

    def __init__(
        self,
        originals: Originals,
        artefacts: Artefacts,
        embedder: Embedder,
        publisher: Publisher,
        decoders: Executor,
        retry: RetryRules,
        top_k: int,
    ) -> None:
        self._originals = originals
        self._artefacts = artefacts
        self._embedder = embedder
        self._publisher = publisher
        self._decoders = decoders
        self._retry = retry
        self._top_k = top_k

    def answer(self, records: Sequence[ConsumerRecord], lease: Lease) -> None:
        """Returns once Kafka has acknowledged the answer of every record.

        Raises Stopped, also when the lease ends while something is still to be waited for; records
        whose answer was not acknowledged must then be read again.
        """
        lease.check("classify")
        with metrics.BATCH_SECONDS.time():
            unanswered, unreadable = read(records)
            self._publisher.publish(unreadable, lease)
            attempt = 0
            while unanswered:
                self._try(unanswered)
                answered = [work for work in unanswered if work.answer is not None]
                self._publisher.publish([work.answer for work in answered if work.answer], lease)
                report(answered)
                unanswered = [work for work in unanswered if work.answer is None]
                if unanswered:
                    attempt += 1
                    self._set_aside(attempt, len(unanswered), lease)

    def _try(self, batch: Sequence[Work]) -> None:
        loaded = self._decoders.map(lambda work: self._guarded(self._load, work), batch)
        ready = [work for work, is_loaded in zip(batch, loaded, strict=True) if is_loaded]
        models = dict.fromkeys(work.event.model_key for work in ready)
        for model_key in models:
            self._classify(model_key, [work for work in ready if work.event.model_key == model_key])

    def _load(self, work: Work) -> None:
        """All that Triton's answer will need; pixels only once."""
        manifest = self._artefacts.manifest(work.event.model_key)
        label_set = self._artefacts.label_set(work.event.label_set_key)
        if label_set.embeddings.shape[1] != manifest.embedding_dim:
            raise Permanent("bad_label_set", "The label set belongs to another model.")
        if work.pixels is not None:
            return
        with metrics.STEP_SECONDS.labels("fetch").time():
            data = self._originals.fetch(work.event)
        with metrics.STEP_SECONDS.labels("decode").time():
            work.pixels = prepare(data, manifest.preprocessing)

    def _classify(self, model_key: str, batch: Sequence[Work]) -> None:
        """Embed and score images of one model; a batch that fails is tried one by one."""
        try:
            manifest = self._artefacts.manifest(model_key)
            embeddings = self._embedder.embed(manifest, [_pixels(work) for work in batch])
        except Exception as exc:
            if len(batch) > 1 and not isinstance(exc, Unavailable | ModelGone):
                for work in batch:
                    self._classify(model_key, [work])
            else:
                for work in batch:
                    self._failed(work, exc)
            return
        with metrics.STEP_SECONDS.labels("score").time():
            for work, embedding in zip(batch, embeddings, strict=True):
                self._guarded(partial(self._score, manifest=manifest, embedding=embedding), work)

    def _score(self, work: Work, manifest: Manifest, embedding: Embedding) -> None:
        event = work.event
        label_set = self._artefacts.label_set(event.label_set_key)
        work.answer = ImageClassified(
            image_id=event.image_id,
            scores=top_k(embedding, label_set, manifest.logit_scale, self._top_k),
            label_set=event.label_set,
            model=manifest.model,
            model_version=manifest.version,
            trace_id=event.trace_id,
            model_key=event.model_key,
            embedding=embedding.astype(WIRE_FLOAT, copy=False).tobytes(),
        )

    def _guarded(self, step: Callable[[Work], None], work: Work) -> bool:
        """Whatever a step raises concerns its image alone; returns whether it raised nothing."""
        try:
            step(work)
        except Exception as exc:
            self._failed(work, exc)
            return False
        return True

    def _failed(self, work: Work, exc: Exception) -> None:
        if isinstance(exc, Permanent):
            work.fail(exc)
        elif isinstance(exc, Retryable):
            self._failed_try(work, exc)
        elif isinstance(exc, MemoryError):
            self._failed_try(work, Unavailable("short of memory"))
        else:  # a fault of ours: this image must not hold up those behind it
            log.error("unexpected error", action="classify", image_id=work.event.image_id,
                      trace_id=work.event.trace_id, exc_info=exc)  # fmt: skip
            self._failed_try(work, Retryable(f"The dispatcher failed on it: {exc!r}"))

    def _failed_try(self, work: Work, exc: Retryable) -> None:
        if isinstance(exc, Unavailable):
            cause = "artefact" if isinstance(exc, BadArtefact) else "unavailable"
            metrics.RETRIES.labels(cause).inc()
            return
        metrics.RETRIES.labels("failed").inc()
        if work.attempts >= self._retry.attempts_for(exc):
            work.fail(Permanent("gave_up", f"{exc} (in each of {work.attempts} attempts)"))
        work.attempts += 1

    def _set_aside(self, attempt: int, count: int, lease: Lease) -> None:
        delay_s = self._retry.backoff.delay_s(attempt)
        log.warning("will retry", action="classify", attempt=attempt, count=count, delay_s=delay_s)
        lease.sleep(delay_s, "classify")


def _pixels(work: Work) -> Pixels:
    assert work.pixels is not None
    return work.pixels
