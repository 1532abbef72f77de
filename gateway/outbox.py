"""The outbox: rows whose event no broker has acknowledged, or whose answer is overdue."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.extras import execute_values

from contracts.events import ImageFailed
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
WHERE published_at IS NULL AND status IN ('PENDING', 'PROCESSING') AND NOT awaits_model
ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"""

MARK_PUBLISHED = """
UPDATE images SET status = 'PROCESSING', published_at = clock_timestamp(),
    updated_at = clock_timestamp(), publish_attempts = publish_attempts + 1,
    kafka_partition = ack.kafka_partition, kafka_offset = ack.kafka_offset
FROM (VALUES %s) AS ack (id, kafka_partition, kafka_offset) WHERE images.id = ack.id"""

IS_OVERDUE = """
status = 'PROCESSING' AND published_at < clock_timestamp() - make_interval(
    secs => least(%(cap_s)s, %(first_s)s * 2 ^ (least(publish_attempts, 16) - 1)))"""

ANY_OVERDUE = f"SELECT EXISTS (SELECT FROM images WHERE {IS_OVERDUE})"  # noqa: S608

# Left out is what lies in the ranges of offsets that are still waiting to be read.
OVERDUE = f"""
SELECT id, kafka_partition, kafka_offset FROM images
WHERE {IS_OVERDUE} AND NOT EXISTS (
    SELECT FROM unnest(%(partitions)s::int[], %(first)s::bigint[], %(past)s::bigint[])
        AS waiting (partition, first, past)
    WHERE waiting.partition = kafka_partition
        AND waiting.first <= kafka_offset AND kafka_offset < waiting.past)
ORDER BY published_at LIMIT %(limit)s"""  # noqa: S608

# Only where it is still the same sending that brought no answer.
REOPEN = """
UPDATE images SET published_at = NULL, updated_at = clock_timestamp()
FROM unnest(%s::bigint[], %s::int[], %s::bigint[]) AS lost (id, partition, sent_at_offset)
WHERE images.id = lost.id AND status = 'PROCESSING' AND published_at IS NOT NULL
    AND kafka_partition = lost.partition AND kafka_offset = lost.sent_at_offset"""

OUTBOX_AGE = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(updated_at)), 0)
FROM images
WHERE published_at IS NULL AND status IN ('PENDING', 'PROCESSING') AND NOT awaits_model"""

# Left as it is where it is the active model that is gone, or none is active: the sweeper sends
# those again, at its own slow pace.
AWAIT_MODEL = """
UPDATE images SET status = 'PENDING', published_at = NULL, publish_attempts = 0,
    awaits_model = true, updated_at = clock_timestamp()
FROM (VALUES %s) AS gone (id, model_key)
WHERE images.id = gone.id AND images.model_key = gone.model_key
    AND status IN ('PENDING', 'PROCESSING') AND NOT awaits_model
    AND images.model_key <> (SELECT manifest_key FROM models WHERE active)"""


def claim(cursor: Cursor, limit: int) -> list[Unpublished]:
    """Lock the oldest rows without an acknowledged event; other relays skip them meanwhile."""
    metrics.DB_QUERIES.labels("claim").inc()
    cursor.execute(CLAIM, (limit,))
    return [Unpublished(*row) for row in cursor.fetchall()]


def mark_published(cursor: Cursor, acks: Sequence[tuple[int, Ack]]) -> None:
    metrics.DB_QUERIES.labels("mark_published").inc()
    rows = [(image_id, ack.partition, ack.offset) for image_id, ack in acks]
    execute_values(cursor, MARK_PUBLISHED, rows, page_size=len(rows))


@dataclass(frozen=True)
class Deadlines:
    """How long an answer may take: `first_s`, doubling with each attempt up to `cap_s`."""

    first_s: float
    cap_s: float


@dataclass(frozen=True)
class Waiting:
    """Offsets of a partition that are in the log and yet to be answered: first <= offset < past."""

    partition: int
    first: int
    past: int


def any_overdue(cursor: Cursor, deadlines: Deadlines) -> bool:
    """Whether any row has been without an answer past its deadline, waiting or not."""
    metrics.DB_QUERIES.labels("sweep").inc()
    cursor.execute(ANY_OVERDUE, asdict(deadlines))
    (exists,) = cursor.fetchone() or (False,)
    return bool(exists)


def overdue(
    cursor: Cursor, deadlines: Deadlines, waiting: Sequence[Waiting], limit: int
) -> list[Overdue]:
    """Rows past their deadline whose event is not among those still waiting, longest first."""
    metrics.DB_QUERIES.labels("sweep").inc()
    ranges = {
        "partitions": [range_.partition for range_ in waiting],
        "first": [range_.first for range_ in waiting],
        "past": [range_.past for range_ in waiting],
    }
    cursor.execute(OVERDUE, {**asdict(deadlines), **ranges, "limit": limit})
    return [Overdue(*row) for row in cursor.fetchall()]


def reopen(cursor: Cursor, lost: Sequence[Overdue]) -> int:
    """Put rows back into the outbox; returns how many were."""
    metrics.DB_QUERIES.labels("reopen").inc()
    ids, partitions, offsets = (
        [getattr(row, field.name) for row in lost] for field in fields(Overdue)
    )
    cursor.execute(REOPEN, (ids, partitions, offsets))
    return int(cursor.rowcount)


def await_model(cursor: Cursor, gone: Sequence[ImageFailed]) -> int:
    """Hold rows back from the relay until they have another model; returns how many."""
    metrics.DB_QUERIES.labels("await_model").inc()
    rows = [(failure.image_id, failure.model_key) for failure in gone]
    execute_values(cursor, AWAIT_MODEL, rows, page_size=len(rows))
    return int(cursor.rowcount)


def age_s(cursor: Cursor) -> float:
    """How long the oldest row has waited for its event to be acknowledged; 0 when none waits."""
    metrics.DB_QUERIES.labels("outbox_age").inc()
    cursor.execute(OUTBOX_AGE)
    (age,) = cursor.fetchone() or (0.0,)
    return float(age)
