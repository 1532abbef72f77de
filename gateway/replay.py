"""Images that FAILED go in, and are in the outbox again: how dead letters get another chance."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from gateway import metrics, notifications
from gateway.cache import Cache
from gateway.database import Database

log = structlog.get_logger(__name__)

BATCH = 500

IS_CHOSEN = """
status = 'FAILED' AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
    AND (%(reason)s IS NULL OR failure_code = %(reason)s)
    AND (%(since)s IS NULL OR updated_at >= %(since)s)
    AND (%(until)s IS NULL OR updated_at < %(until)s)"""

COUNT = f"SELECT failure_code, count(*) FROM images WHERE {IS_CHOSEN} GROUP BY 1"  # noqa: S608

# The model that is active now is asked: theirs may be gone, or why they failed.
# What fails again meanwhile has a later `updated_at` and is not taken twice.
REQUEUE = f"""
UPDATE images SET status = 'PENDING', published_at = NULL, publish_attempts = 0,
    failure_code = NULL, failure_reason = NULL, updated_at = clock_timestamp(),
    awaits_model = coalesce(model_key <> (SELECT manifest_key FROM models WHERE active), false)
WHERE id IN (SELECT id FROM images WHERE {IS_CHOSEN} AND updated_at < %(started)s
             ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
RETURNING id"""  # noqa: S608

# What failed just now is dated up to a millisecond ahead: see gateway.images.LATER.
STARTED = "SELECT clock_timestamp() + interval '1 millisecond'"


@dataclass(frozen=True)
class Choice:
    """Which failed images; None does not restrict. `since` and `until` bound when they failed."""

    ids: Sequence[int] | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Replay:
    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache

    def count(self, choice: Choice) -> dict[str, int]:
        """How many images would be replayed, by why they failed. Raises Retryable."""
        with self._database.statement() as cursor:
            metrics.DB_QUERIES.labels("replay").inc()
            cursor.execute(COUNT, asdict(choice))
            return {str(reason): int(count) for reason, count in cursor.fetchall()}

    def run(self, choice: Choice) -> Iterator[int]:
        """Yields the number of images put back so far, after each batch. Raises Retryable."""
        with self._database.statement() as cursor:
            cursor.execute(STARTED)
            (started,) = cursor.fetchone() or (None,)
        replayed = 0
        while True:
            with self._database.transaction() as cursor:
                ids = _requeue(cursor, choice, started)
            if not ids:
                return
            self._cache.drop(ids)
            notifications.notify(self._database, notifications.SUBMITTED, [""])
            replayed += len(ids)
            log.info("images replayed", action="replay", count=len(ids), total=replayed)
            yield replayed


def _requeue(cursor: Cursor, choice: Choice, started: datetime | None) -> list[int]:
    metrics.DB_QUERIES.labels("replay").inc()
    cursor.execute(REQUEUE, {**asdict(choice), "started": started, "batch": BATCH})
    return [int(row[0]) for row in cursor.fetchall()]
