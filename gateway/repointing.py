"""Rows whose model is gone go in; they wait for the relay again, under the model active now."""

from dataclasses import astuple, dataclass

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from contracts.events import MODEL_GONE, NO_TRACE, ImageFailed
from gateway import images, metrics, notifications, registry, resource
from gateway.cache import Cache
from gateway.database import Database
from gateway.labels.definitions import Definition
from gateway.labels.matrices import LabelMatrices, MatrixCache
from gateway.registry import ActiveModel
from runtime.artefacts import BadArtefact
from runtime.errors import Retryable, Unavailable
from runtime.lifecycle import Lifecycle

log = structlog.get_logger(__name__)

BATCH = 500
GROUPS = 1_000  # of a round

# Images uploaded with the same labels for the same model find the same matrix.
SELECT_GROUPS = """
SELECT DISTINCT model_key, label_set, label_set_key FROM images
WHERE awaits_model AND status = 'PENDING' LIMIT %s"""

COUNT = "SELECT count(*) FROM images WHERE awaits_model AND status = 'PENDING'"
IS_DEFAULT = "SELECT EXISTS (SELECT FROM models WHERE manifest_key = %s AND label_set_key = %s)"
SELECT_TEMPLATES = """
SELECT templates FROM label_matrices WHERE manifest_key = %s AND label_set_key = %s"""

CHOOSE = """
SELECT id FROM images WHERE awaits_model AND status = 'PENDING'
    AND (model_key, label_set, label_set_key) = (%s, %s, %s)
ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"""

REPOINT = """
UPDATE images SET awaits_model = false, model_key = %s, label_set = %s, label_set_key = %s,
    updated_at = clock_timestamp()
WHERE id = ANY(%s)"""


class LabelsLost(Exception):
    """Nothing says any more which labels were asked for."""


@dataclass(frozen=True)
class Asked:
    """What uploads asked for, as content addresses of the model that is gone."""

    model_key: str
    label_set: str
    label_set_key: str


class Repointer:
    """Labels stay those that were asked for; the default ones become the new model's."""

    def __init__(
        self,
        database: Database,
        cache: Cache,
        matrices: LabelMatrices,
        matrix_cache: MatrixCache,
        image_base_url: str,
    ) -> None:
        self._database = database
        self._cache = cache
        self._matrices = matrices
        self._matrix_cache = matrix_cache
        self._base_url = image_base_url

    def run(self, lifecycle: Lifecycle, interval_s: float) -> None:
        """Until stopped. A round may take minutes, where many labels must be embedded."""
        while not lifecycle.stopping:
            try:
                self.repoint()
            except Retryable as exc:
                log.warning("postponed", action="repoint", error=str(exc))
            except Exception:  # this thread must outlive whatever it meets
                log.exception("repointing failed", action="repoint")
            lifecycle.sleep(interval_s)

    def repoint(self) -> int:
        """Returns how many rows the relay may send now. Raises Retryable."""
        with self._database.statement() as cursor:
            metrics.DB_QUERIES.labels("repoint").inc()
            cursor.execute(SELECT_GROUPS, (GROUPS,))
            groups = [Asked(*row) for row in cursor.fetchall()]
        released = sum(self._repoint(asked) for asked in groups)
        with self._database.statement() as cursor:
            cursor.execute(COUNT)
            metrics.AWAITING_MODEL.set((cursor.fetchone() or (0,))[0])
        return released

    def _repoint(self, asked: Asked) -> int:
        """One group's trouble is not the others'."""
        try:
            answering = self._answering(asked)
        except LabelsLost as exc:
            self._fail(asked, str(exc))
            return 0
        except Unavailable as exc:
            log.warning("postponed", action="repoint", error=str(exc), label_set=asked.label_set)
            return 0
        return self._release(asked, answering)

    def _answering(self, asked: Asked) -> ActiveModel:
        with self._database.statement() as cursor:
            active = _active(cursor)
            is_default = _first(cursor, IS_DEFAULT, asked.model_key, asked.label_set_key)
        if asked.model_key == active.manifest_key:  # it is back
            return ActiveModel(*astuple(asked))
        if is_default:
            return active
        definition = self._definition(asked)
        key = self._matrices.key(active, definition.labels, definition.templates)
        return ActiveModel(active.manifest_key, asked.label_set, key)

    def _definition(self, asked: Asked) -> Definition:
        """Deleted label sets included: their matrices stay."""
        with self._database.statement() as cursor:
            cursor.execute(SELECT_TEMPLATES, (asked.model_key, asked.label_set_key))
            row = cursor.fetchone()
        try:
            labels = self._matrix_cache.get(asked.label_set_key).labels
        except BadArtefact as exc:
            raise LabelsLost(_lost(asked)) from exc
        if row is None:
            raise LabelsLost(_lost(asked))
        return Definition(labels, row[0] and tuple(row[0]))

    def _release(self, asked: Asked, answering: ActiveModel) -> int:
        released = 0
        while True:
            with self._database.transaction() as cursor:
                ids = _choose(cursor, asked)
                cursor.execute(REPOINT, (*astuple(answering), ids))
            if not ids:
                return released
            released += len(ids)
            metrics.REPOINTED.inc(len(ids))
            notifications.notify(self._database, notifications.SUBMITTED, [""])
            log.warning("images wait for another model", action="repoint", count=len(ids),
                        label_set=answering.label_set)  # fmt: skip

    def _fail(self, asked: Asked, why: str) -> None:
        while True:
            with self._database.transaction() as cursor:
                ids = _choose(cursor, asked)
                failures = [
                    ImageFailed(image_id, MODEL_GONE, why, 1, asked.model_key, NO_TRACE)
                    for image_id in ids
                ]
                done = images.fail(cursor, failures) if failures else []
            if not done:
                return
            self._cache.put_terminal({i.id: resource.to_json(i, self._base_url) for i in done})
            notifications.announce_terminal(self._database, ids)
            metrics.CLASSIFICATIONS.labels("FAILED").inc(len(done))
            log.error("images failed", action="repoint", count=len(done), error=why)


def _active(cursor: Cursor) -> ActiveModel:
    """As Postgres has it now; Registry's answer may be seconds old."""
    cursor.execute(registry.SELECT_ACTIVE)
    row = cursor.fetchone()
    if row is None:
        raise Unavailable("no model is active")
    return ActiveModel(*row)


def _choose(cursor: Cursor, asked: Asked) -> list[int]:
    cursor.execute(CHOOSE, (*astuple(asked), BATCH))
    return [int(row[0]) for row in cursor.fetchall()]


def _first(cursor: Cursor, query: str, *arguments: str) -> bool:
    cursor.execute(query, arguments)
    (answer,) = cursor.fetchone() or (False,)
    return bool(answer)


def _lost(asked: Asked) -> str:
    return (
        "The model that was to label this image is not served any more, and what its label set "
        f"{asked.label_set!r} was made of is not known for another one. Upload it again."
    )
