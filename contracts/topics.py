"""Kafka's names and shapes: the three topics, their partitions and the consumer groups."""

from dataclasses import dataclass

IMAGE_PROCESSING = "image-processing-topic"
CLASSIFICATION_RESULTS = "image-classification-results"
PROCESSING_ERRORS = "image-processing-errors"

DISPATCHER_GROUP = "image-service-group"
WRITER_GROUP = "image-service-results-group"


@dataclass(frozen=True)
class Topic:
    """A topic as `migrate` creates it. Partitions bound how many consumers share the work."""

    name: str
    partitions: int


ALL_TOPICS = (
    Topic(IMAGE_PROCESSING, partitions=6),
    Topic(CLASSIFICATION_RESULTS, partitions=3),
    Topic(PROCESSING_ERRORS, partitions=1),
)
