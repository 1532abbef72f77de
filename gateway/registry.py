"""The models that may answer uploads: registered with their artefacts, one of them active."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from contracts.manifest import Manifest
from contracts.objects import label_set_key, model_key
from gateway import metrics
from gateway.database import Database
from runtime.artefacts import ArtefactCache
from runtime.errors import Unavailable
from runtime.objects import ObjectStore

log = structlog.get_logger(__name__)

REFRESH_S = 5.0
KEPT_MANIFESTS = 8

SELECT_ACTIVE = "SELECT manifest_key, label_set_name, label_set_key FROM models WHERE active"
DEACTIVATE = "UPDATE models SET active = false WHERE active"
REGISTER = """
INSERT INTO models (name, version, manifest_key, label_set_name, label_set_key, active)
VALUES (%s, %s, %s, %s, %s, true)
ON CONFLICT (manifest_key, label_set_key) DO UPDATE SET active = true"""


@dataclass(frozen=True)
class ActiveModel:
    """Content addresses of what answers a new upload: the model, and labels by name and matrix."""

    manifest_key: str
    label_set: str
    label_set_key: str


class Registry:
    """Reads the active model, at most once every REFRESH_S seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._active: ActiveModel | None = None
        self._read_at_s = float("-inf")

    def active(self) -> ActiveModel:
        """Raises Unavailable while no model is registered; the last answer outlasts a fault."""
        with self._lock:
            if time.monotonic() - self._read_at_s > REFRESH_S:
                self._refresh()
            if self._active is None:
                raise Unavailable("no model is registered: run `python -m gateway register-model`")
            return self._active

    def _refresh(self) -> None:
        try:
            with self._database.statement() as cursor:
                self._active = _select_active(cursor)
        except Unavailable:
            if self._active is None:
                raise
        self._read_at_s = time.monotonic()


class Manifests(ArtefactCache[Manifest]):
    """The manifests of models, by their keys."""

    def __init__(self, objects: ObjectStore) -> None:
        super().__init__(objects, Manifest.from_json, KEPT_MANIFESTS)


def register(
    database: Database,
    objects: ObjectStore,
    directory: Path,
    prepare: Callable[[ActiveModel], None] = lambda _model: None,
) -> ActiveModel:
    """Store the manifest and default label set of an exported model, and make it the active one.

    `prepare` is called between the two: uploads are answered by the model only once it returned.
    Repeating it changes nothing. Raises contracts.manifest.ManifestError, OSError or Retryable.
    """
    manifest_json = (directory / "manifest.json").read_bytes()
    manifest = Manifest.from_json(manifest_json)
    label_set = (directory / manifest.label_set_file).read_bytes()
    active = ActiveModel(
        model_key(manifest_json), manifest.label_set_name, label_set_key(label_set)
    )
    objects.put(active.manifest_key, manifest_json)
    objects.put(active.label_set_key, label_set)
    prepare(active)
    with database.transaction() as cursor:
        cursor.execute(DEACTIVATE)
        cursor.execute(REGISTER, (manifest.model, manifest.version, active.manifest_key,
                                  manifest.label_set_name, active.label_set_key))  # fmt: skip
    log.info("model registered", action="register_model", model=manifest.model,
             version=manifest.version, label_set=manifest.label_set_name)  # fmt: skip
    return active


def _select_active(cursor: Cursor) -> ActiveModel | None:
    metrics.DB_QUERIES.labels("active_model").inc()
    cursor.execute(SELECT_ACTIVE)
    row = cursor.fetchone()
    return ActiveModel(*row) if row else None
