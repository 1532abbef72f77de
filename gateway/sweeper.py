"""Published rows without an answer go in; those Kafka no longer holds go back to the outbox."""

from dataclasses import dataclass

import structlog

from gateway import metrics, outbox
from gateway.backlog import Backlog, Positions, ResultOffsets
from gateway.database import Database
from gateway.outbox import Deadlines, Overdue
from runtime.errors import Retryable
from runtime.lifecycle import Lifecycle, Pulse

log = structlog.get_logger(__name__)

SWEEP_LIMIT = 10_000


@dataclass(frozen=True)
class Suspects:
    """Rows that no dispatcher will answer any more, and the end of the results at that moment.

    If there ever was an answer it lies before that end: once the writers have read so far, a row
    that is still PROCESSING was never answered.
    """

    rows: list[Overdue]
    results_end: ResultOffsets

    def are_convicted(self, positions: Positions) -> bool:
        """A log that is shorter than it was lost its records: there is nothing to wait for."""
        return all(
            positions.results_read.get(partition, 0) >= end
            or positions.results_end.get(partition, 0) < end
            for partition, end in self.results_end.items()
        )


class Sweeper:
    """Nothing waits for ever, not even behind a broker that lost its log.

    An event that the dispatchers have yet to read is left alone however old it is: sending a
    backlog again would only make it longer.
    """

    def __init__(self, database: Database, backlog: Backlog, deadlines: Deadlines) -> None:
        self._database = database
        self._backlog = backlog
        self._deadlines = deadlines
        self._suspects: Suspects | None = None

    def run(self, lifecycle: Lifecycle, pulse: Pulse, interval_s: float) -> None:
        """Sweep until stopped; a Postgres or Kafka that is away only postpones it."""
        while not lifecycle.stopping:
            pulse.beat()
            try:
                self.sweep()
            except Retryable as exc:
                log.warning("sweep postponed", action="sweep", error=str(exc))
            except Exception:  # this thread must outlive whatever it meets
                log.exception("sweep failed", action="sweep")
            lifecycle.sleep(interval_s)

    def sweep(self) -> int:
        """Returns how many rows went back into the outbox. Raises Retryable."""
        with self._database.transaction() as cursor:
            metrics.OUTBOX_AGE_SECONDS.set(outbox.age_s(cursor))
            if not outbox.any_overdue(cursor, self._deadlines):
                self._suspects = None
                metrics.OVERDUE_IMAGES.set(0)
                return 0
        positions = self._backlog.positions()
        if self._suspects is None:
            self._suspects = self._find_suspects(positions)
        metrics.OVERDUE_IMAGES.set(len(self._suspects.rows))
        if not self._suspects.are_convicted(positions):
            return 0
        convicted, self._suspects = self._suspects.rows, None
        return self._reopen(convicted)

    def _find_suspects(self, positions: Positions) -> Suspects:
        with self._database.transaction() as cursor:
            rows = outbox.overdue(cursor, self._deadlines, positions.waiting, SWEEP_LIMIT)
        return Suspects(rows, positions.results_end)

    def _reopen(self, lost: list[Overdue]) -> int:
        if not lost:
            return 0
        with self._database.transaction() as cursor:
            count = outbox.reopen(cursor, lost)
        metrics.SWEPT.inc(count)
        log.warning("overdue images are sent again", action="sweep", count=count)
        return count
