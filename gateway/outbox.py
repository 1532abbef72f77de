"""The outbox: rows whose event no broker has acknowledged, or whose answer is overdue."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.extras import execute_values

from gateway import metrics
from runtime.kafka import Ack


@dataclass(frozen=True)
class Unpublished:
    """A claimed row: what its event needs."""

    id: int
    s3_key: str
    media_type: str
    model_key: str
    label_set: str
    label_set_key: str
    trace_id: str


@dataclass(frozen=True)
class Overdue:
    """A published row without an answer, and where its last event was put."""

    id: int
    partition: int
    offset: int


CLAIM = """
SELECT id, s3_key, media_type, model_key, label_set, label_set_key, trace_id FROM images
WHERE published_at IS NULL AND status IN ('PENDING', 'PROCESSING')
ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"""

MARK_PUBLISHED = """
UPDATE images SET status = 'PROCESSING', published_at = clock_timestamp(),
    updated_at = clock_timestamp(), publish_attempts = publish_attempts + 1,
    kafka_partition = ack.kafka_partition, kafka_offset = ack.kafka_offset
FROM (VALUES %s) AS ack (id, kafka_partition, kafka_offset) WHERE images.id = ack.id"""

OVERDUE = """
SELECT id, kafka_partition, kafka_offset FROM images
WHERE status = 'PROCESSING' AND published_at < clock_timestamp() - make_interval(
    secs => least(%(cap_s)s, %(deadline_s)s * 2 ^ (least(publish_attempts, 16) - 1)))
ORDER BY published_at LIMIT %(limit)s"""

REOPEN = """
UPDATE images SET published_at = NULL, updated_at = clock_timestamp()
WHERE id = ANY(%s) AND status = 'PROCESSING'"""

OUTBOX_AGE = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(updated_at)), 0)
FROM images WHERE published_at IS NULL AND status IN ('PENDING', 'PROCESSING')"""


def claim(cursor: Cursor, limit: int) -> list[Unpublished]:
    """Lock the oldest rows without an acknowledged event; other relays skip them meanwhile."""
    metrics.DB_QUERIES.labels("claim").inc()
    cursor.execute(CLAIM, (limit,))
    return [Unpublished(*row) for row in cursor.fetchall()]


def mark_published(cursor: Cursor, acks: Sequence[tuple[int, Ack]]) -> None:
    metrics.DB_QUERIES.labels("mark_published").inc()
    rows = [(image_id, ack.partition, ack.offset) for image_id, ack in acks]
    execute_values(cursor, MARK_PUBLISHED, rows, page_size=len(rows))


def overdue(cursor: Cursor, deadline_s: float, cap_s: float, limit: int) -> list[Overdue]:
    """Rows without an answer past their deadline, which doubles with each attempt up to a cap."""
    metrics.DB_QUERIES.labels("sweep").inc()
    cursor.execute(OVERDUE, {"deadline_s": deadline_s, "cap_s": cap_s, "limit": limit})
    return [Overdue(*row) for row in cursor.fetchall()]


def reopen(cursor: Cursor, image_ids: Sequence[int]) -> int:
    """Put rows back into the outbox; returns how many were."""
    metrics.DB_QUERIES.labels("reopen").inc()
    cursor.execute(REOPEN, (list(image_ids),))
    return int(cursor.rowcount)


def age_s(cursor: Cursor) -> float:
    """How long the oldest row has waited for its event to be acknowledged; 0 when none waits."""
    metrics.DB_QUERIES.labels("outbox_age").inc()
    cursor.execute(OUTBOX_AGE)
    (age,) = cursor.fetchone() or (0.0,)
    return float(age)
