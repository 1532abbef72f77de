"""Kafka records go in, images to answer come out; and what is known of each until its answer."""

from collections.abc import Sequence
from dataclasses import dataclass

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
from dispatcher import metrics
from dispatcher.preprocessing import Pixels
from dispatcher.publisher import Answer
from runtime.errors import Permanent

log = structlog.get_logger(__name__)

DETAIL_CHARACTERS = 500


@dataclass
class Work:
    """An image on its way: what is known so far, and how often it failed by itself."""

    event: ImageSubmitted
    origin: str
    pixels: Pixels | None = None
    attempts: int = 1
    answer: Answer | None = None

    def fail(self, exc: Permanent) -> None:
        self.answer = ImageFailed(
            image_id=self.event.image_id,
            reason=exc.reason,
            detail=storable(exc.detail),
            attempts=self.attempts,
            origin=self.origin,
            trace_id=self.event.trace_id,
            model_key=self.event.model_key,
        )


def read(records: Sequence[ConsumerRecord]) -> tuple[list[Work], list[ImageFailed]]:
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


def storable(detail: str) -> str:
    """Without NUL and lone surrogates, which no reader takes, and no longer than a few lines."""
    return detail.replace("\0", "").encode(errors="replace").decode()[:DETAIL_CHARACTERS]


def report(answered: Sequence[Work]) -> None:
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


def _unreadable(image_id: int, origin: str, exc: InvalidEvent) -> ImageFailed:
    return ImageFailed(
        image_id=image_id,
        reason="invalid_event",
        detail=storable(f"The image's event cannot be read: {exc}."),
        attempts=1,
        origin=origin,
        trace_id=NO_TRACE,
    )
