"""Numbered SQL files go in, the database's schema comes out, each file applied exactly once."""

from pathlib import Path

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from gateway.database import Database

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
# Any number of processes may migrate at once; all but one wait for this advisory lock.
LOCK_ID = 0x696D616765

CREATE_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name TEXT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())"""
LOCK = "SELECT pg_advisory_xact_lock(%s)"
SELECT_APPLIED = "SELECT name FROM schema_migrations"
RECORD = "INSERT INTO schema_migrations (name) VALUES (%s)"


def migrate(database: Database, directory: Path = MIGRATIONS) -> list[str]:
    """Apply what is missing, all or nothing; returns the names. Raises Retryable."""
    with database.transaction() as cursor:
        cursor.execute("SET LOCAL lock_timeout = 0")
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(LOCK, (LOCK_ID,))
        cursor.execute(CREATE_HISTORY)
        cursor.execute(SELECT_APPLIED)
        applied = {row[0] for row in cursor.fetchall()}
        missing = [path for path in sorted(directory.glob("*.sql")) if path.stem not in applied]
        for path in missing:
            _apply(cursor, path)
    return [path.stem for path in missing]


def _apply(cursor: Cursor, path: Path) -> None:
    cursor.execute(path.read_text())
    cursor.execute(RECORD, (path.stem,))
    log.info("migration applied", action="migrate", migration=path.stem)
