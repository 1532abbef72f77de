"""Images as rows of Postgres: the frozen row, and the SQL that writes, finds and lists them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.extras import execute_values

from contracts.events import ImageClassified, ImageFailed
from gateway import metrics


class Status(str, Enum):
    """PENDING -> PROCESSING -> COMPLETED or FAILED; the last two are terminal."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    @property
    def terminal(self) -> bool:
        return self in {Status.COMPLETED, Status.FAILED}


@dataclass(frozen=True)
class NewImage:
    """What is known of an image when its row is first written."""

    s3_key: str
    filename: str | None
    media_type: str
    size_bytes: int
    width_px: int
    height_px: int
    description: str | None
    trace_id: str
    model_key: str
    label_set: str
    label_set_key: str


@dataclass(frozen=True)
class Image:
    """A row as readers see it; `classification_result` is JSON text."""

    id: int
    s3_key: str
    media_type: str
    status: Status
    classification_result: str | None
    confidence_score: float | None
    failure_reason: str | None
    trace_id: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> "Image":
        image_id, s3_key, media_type, status, *rest = row
        return cls(image_id, s3_key, media_type, Status(status), *rest)


COLUMNS = """id, s3_key, media_type, status, classification_result::text, confidence_score,
    failure_reason, trace_id, created_at, updated_at"""

# The key is unique to the upload, so a repeat after a lost answer finds its own row.
INSERT = f"""
INSERT INTO images (s3_key, filename, media_type, size_bytes, width_px, height_px, description,
                    trace_id, model_key, label_set, label_set_key)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (s3_key) DO UPDATE SET s3_key = EXCLUDED.s3_key
RETURNING {COLUMNS}"""  # noqa: S608 (column names of ours)

SELECT_BY_ID = f"SELECT {COLUMNS} FROM images WHERE id = %s"  # noqa: S608
SELECT_BY_KEY = f"SELECT {COLUMNS} FROM images WHERE s3_key = %s"  # noqa: S608
LIST = f"""
SELECT {COLUMNS} FROM images
WHERE (%(before_id)s IS NULL OR id < %(before_id)s)
  AND (%(status)s IS NULL OR status = %(status)s::image_status)
  AND (%(created_after)s IS NULL OR created_at >= %(created_after)s)
  AND (%(created_before)s IS NULL OR created_at < %(created_before)s)
  AND (%(q)s IS NULL OR search @@ websearch_to_tsquery('english', %(q)s))
ORDER BY id DESC LIMIT %(limit)s"""  # noqa: S608
DELETE = "DELETE FROM images WHERE id = %s RETURNING s3_key"

# Later than before, in the milliseconds that readers see, whatever the clock says: what is newer
# replaces what is older in the cache.
LATER = "greatest(clock_timestamp(), updated_at + interval '1 millisecond')"

# A terminal row is never changed: a duplicate result finds nothing to update.
COMPLETE = f"""
UPDATE images SET status = 'COMPLETED', classification_result = result.classification::jsonb,
    confidence_score = result.confidence, label = result.label,
    other_labels = result.other_labels, updated_at = {LATER}
FROM (VALUES %s) AS result (image_id, classification, confidence, label, other_labels)
WHERE images.id = result.image_id AND status IN ('PENDING', 'PROCESSING')
RETURNING {COLUMNS}"""  # noqa: S608

FAIL = f"""
UPDATE images SET status = 'FAILED', failure_code = failure.reason,
    failure_reason = failure.detail, updated_at = {LATER}
FROM (VALUES %s) AS failure (image_id, reason, detail)
WHERE images.id = failure.image_id AND status IN ('PENDING', 'PROCESSING')
RETURNING {COLUMNS}"""  # noqa: S608


# On demand only, where the caller asked for other labels.
RELABEL = f"""
UPDATE images SET classification_result = %s::jsonb, confidence_score = %s, label = %s,
    other_labels = %s, model_key = %s, label_set = %s, label_set_key = %s, updated_at = {LATER}
WHERE id = %s AND status = 'COMPLETED'
RETURNING {COLUMNS}"""  # noqa: S608


def insert(cursor: Cursor, image: NewImage) -> Image:
    metrics.DB_QUERIES.labels("insert").inc()
    cursor.execute(INSERT, (image.s3_key, image.filename, image.media_type, image.size_bytes,
                            image.width_px, image.height_px, image.description, image.trace_id,
                            image.model_key, image.label_set, image.label_set_key))  # fmt: skip
    return Image.from_row(_one(cursor))


def find(cursor: Cursor, image_id: int) -> Image | None:
    metrics.DB_QUERIES.labels("select").inc()
    cursor.execute(SELECT_BY_ID, (image_id,))
    row = cursor.fetchone()
    return Image.from_row(row) if row else None


def find_by_key(cursor: Cursor, s3_key: str) -> Image | None:
    metrics.DB_QUERIES.labels("select").inc()
    cursor.execute(SELECT_BY_KEY, (s3_key,))
    row = cursor.fetchone()
    return Image.from_row(row) if row else None


@dataclass(frozen=True)
class Selection:
    """Which images to list, newest first; None does not restrict."""

    before_id: int | None = None
    status: Status | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str | None = None


def select(cursor: Cursor, selection: Selection, limit: int) -> list[Image]:
    """Keyset pagination by id: a row is on exactly one page, however many rows are added."""
    metrics.DB_QUERIES.labels("list").inc()
    cursor.execute(LIST, {**asdict(selection), "limit": limit})
    return [Image.from_row(row) for row in cursor.fetchall()]


def delete(cursor: Cursor, image_id: int) -> str | None:
    """Returns the key of the object that the deleted row named, None where there was no row."""
    metrics.DB_QUERIES.labels("delete").inc()
    cursor.execute(DELETE, (image_id,))
    row = cursor.fetchone()
    return str(row[0]) if row else None


def complete(cursor: Cursor, results: Sequence[ImageClassified]) -> list[Image]:
    """Returns the rows that became COMPLETED, which duplicates and deleted images are not among.

    An image may be in `results` once.
    """
    metrics.DB_QUERIES.labels("complete").inc()
    rows = [_result_row(result) for result in results]
    updated = execute_values(cursor, COMPLETE, rows, page_size=len(rows), fetch=True)
    return [Image.from_row(row) for row in updated]


def fail(cursor: Cursor, failures: Sequence[ImageFailed]) -> list[Image]:
    """Returns the rows that became FAILED."""
    metrics.DB_QUERIES.labels("fail").inc()
    rows = [(failure.image_id, failure.reason, failure.detail) for failure in failures]
    updated = execute_values(cursor, FAIL, rows, page_size=len(rows), fetch=True)
    return [Image.from_row(row) for row in updated]


def relabel(cursor: Cursor, result: ImageClassified, label_set_key: str) -> Image | None:
    """The row with other labels; None where there is no COMPLETED one (any more)."""
    metrics.DB_QUERIES.labels("relabel").inc()
    image_id, *labels = _result_row(result)
    asked = (result.model_key, result.label_set, label_set_key)
    cursor.execute(RELABEL, (*labels, *asked, image_id))
    row = cursor.fetchone()
    return Image.from_row(row) if row else None


def _result_row(result: ImageClassified) -> tuple[int, str, float, str, str]:
    best, *others = result.scores
    other_labels = ", ".join(score.label for score in others)
    text = classification_json(result)
    return (result.image_id, text, best.confidence, best.label, other_labels)


def classification_json(result: ImageClassified) -> str:
    """What callers read as `classificationResult`; `top5` holds all scores there are."""
    best = result.scores[0]
    classification = {
        "class": best.label,
        "confidence": best.confidence,
        "top5": [{"class": s.label, "confidence": s.confidence} for s in result.scores],
        "labelSet": result.label_set,
        "model": result.model,
        "modelVersion": result.model_version,
    }
    return json.dumps(classification)


def _one(cursor: Cursor) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise RuntimeError("the statement returned no row")
    return row
