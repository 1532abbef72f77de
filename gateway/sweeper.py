"""Published rows without an answer go in; those Kafka no longer holds go back to the outbox."""

import time
from dataclasses import dataclass

import structlog

from gateway import metrics, outbox
from gateway.backlog import Backlog, Positions
from gateway.database import Database
from gateway.outbox import Overdue
from runtime.errors import Retryable

log = structlog.get_logger(__name__)

SWEEP_LIMIT = 1_000


@dataclass(frozen=True)
class Deadlines:
    """How long an answer may take: `first_s`, doubling with each attempt up to `cap_s`."""

    first_s: float
    cap_s: float
    interval_s: float


class Sweeper:
    """Nothing waits for ever, not even behind a broker that lost its log.

    An event that the dispatchers have yet to read is left alone however old it is: sending a
    backlog again would only make it longer.
    """

    def __init__(self, database: Database, backlog: Backlog, deadlines: Deadlines) -> None:
        self._database = database
        self._backlog = backlog
        self._deadlines = deadlines
        self._next_s = time.monotonic() + deadlines.interval_s

    def sweep_if_due(self) -> None:
        """Raises Retryable when Postgres is away; a silent Kafka only postpones the sweep."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._deadlines.interval_s
            self.sweep()

    def sweep(self) -> int:
        """Returns how many rows went back into the outbox."""
        with self._database.transaction() as cursor:
            metrics.OUTBOX_AGE_SECONDS.set(outbox.age_s(cursor))
            overdue = outbox.overdue(
                cursor, self._deadlines.first_s, self._deadlines.cap_s, SWEEP_LIMIT
            )
        if not overdue:
            return 0
        try:
            lost = unanswerable(overdue, self._backlog.positions())
        except Retryable as exc:
            log.warning("sweep postponed", action="sweep", error=str(exc))
            return 0
        return self._reopen(lost)

    def _reopen(self, lost: list[int]) -> int:
        if not lost:
            return 0
        with self._database.transaction() as cursor:
            count = outbox.reopen(cursor, lost)
        metrics.SWEPT.inc(count)
        log.warning("overdue images are sent again", action="sweep", count=count)
        return count


def unanswerable(overdue: list[Overdue], positions: Positions) -> list[int]:
    """Ids whose event will bring no answer any more.

    While results wait unread, any of them may be the answer, so none is given up yet. Otherwise an
    event is waiting if it lies between the dispatchers' committed offset and the end of its log.
    """
    if positions.results_unread:
        return []
    return [row.id for row in overdue if not positions.is_waiting(row.partition, row.offset)]
