"""Labels, templates and a model go in; the key of the object with their embeddings comes out."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import structlog

from contracts.manifest import Manifest
from contracts.objects import label_set_key
from gateway import metrics
from gateway.database import Database
from gateway.labels.definitions import Definition, check_prompts, digest
from gateway.labels.prompts import PromptsUnavailable
from gateway.registry import Manifests
from runtime.artefacts import ArtefactCache
from runtime.lru import Lru
from runtime.objects import ObjectStore
from zero_shot import label_set, prompts
from zero_shot.label_set import Embeddings, LabelSet

log = structlog.get_logger(__name__)

KEPT_KEYS = 4_096

SELECT = "SELECT label_set_key FROM label_matrices WHERE definition = %s AND manifest_key = %s"
# The first matrix stays: a second one of the same texts may differ in its last bits.
INSERT = """
INSERT INTO label_matrices (definition, manifest_key, label_set_key, templates)
VALUES (%s, %s, %s, %s)
ON CONFLICT (definition, manifest_key) DO UPDATE SET definition = EXCLUDED.definition
RETURNING label_set_key"""


class MatrixCache(ArtefactCache[LabelSet]):
    """The matrices themselves, by their keys; those of up to `kept_bytes` of memory are kept."""

    def __init__(self, objects: ObjectStore, kept_bytes: int) -> None:
        super().__init__(objects, label_set.decode, kept_bytes, lambda kept: kept.memory_bytes)


class Model(Protocol):
    """As much of gateway.registry.ActiveModel as is needed here."""

    @property
    def manifest_key(self) -> str: ...


class Embedder(Protocol):
    """gateway.labels.prompts.PromptEmbedder, or what a test has in its place."""

    def embed(self, manifest: Manifest, texts: Sequence[str]) -> Embeddings: ...


class LabelMatrices:
    """Each definition is embedded at most once a model: what was made stays, under its content.

    From any thread. Known ones cost a query the first time, and never need Triton.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        manifests: Manifests,
        embedder: Embedder,
        twin_patience_s: float,
        max_prompts: int,
    ) -> None:
        """Behind a large set that is being embedded it is better to come again than to wait."""
        self._database = database
        self._objects = objects
        self._manifests = manifests
        self._embedder = embedder
        self._known = Lru(KEPT_KEYS, self._select)
        self._turns = _Turns(twin_patience_s)
        self._max_prompts = max_prompts

    def find(
        self, model: Model, labels: Sequence[str], templates: Sequence[str] | None
    ) -> str | None:
        """The key of a matrix that was made before; Triton is not asked. Raises Retryable."""
        definition = digest(labels, self.templates(model, labels, templates))
        return self._find(definition, model.manifest_key)

    def key(self, model: Model, labels: Sequence[str], templates: Sequence[str] | None) -> str:
        """The object key of the labels' matrix for `model`, made now if it never was.

        Takes as long as the embedding does: see gateway/api/labels.py for who may call it where.
        Raises PromptsUnavailable, then nothing was stored, or another Retryable.
        """
        resolved = self.templates(model, labels, templates)
        definition = digest(labels, resolved)
        # A twin of this call waits for it, and then finds it done.
        with self._turns.of(f"{definition} {model.manifest_key}"):
            found = self._find(definition, model.manifest_key)
            return found or self._make(definition, model, labels, resolved)

    def templates(
        self, model: Model, labels: Sequence[str], templates: Sequence[str] | None
    ) -> Sequence[str]:
        """Those given, or as many of the model's own as the labels leave room for, at least one.

        So a set that was made under one model can be embedded by any other. Raises Retryable.
        """
        own = self._manifests.get(model.manifest_key).templates
        return templates or own[: max(1, self._max_prompts // len(labels))]

    def check(self, model: Model, definition: Definition) -> None:
        """Raises Unusable where the definition makes more prompts than are embedded."""
        templates = self.templates(model, definition.labels, definition.templates)
        check_prompts(definition, templates, self._max_prompts)

    def _find(self, definition: str, manifest_key: str) -> str | None:
        try:
            return self._known.get((definition, manifest_key))
        except NeverMade:
            return None

    def _select(self, made_for: tuple[str, str]) -> str:
        metrics.DB_QUERIES.labels("label_matrix").inc()
        with self._database.statement() as cursor:
            cursor.execute(SELECT, made_for)
            row = cursor.fetchone()
        if row is None:
            raise NeverMade
        metrics.LABEL_MATRICES.labels("known").inc()
        return str(row[0])

    def _make(
        self, definition: str, model: Model, labels: Sequence[str], templates: Sequence[str]
    ) -> str:
        manifest = self._manifests.get(model.manifest_key)
        texts = prompts.fill(labels, templates)
        matrix = _pooled(self._embedder.embed(manifest, texts), len(templates))
        data = label_set.encode(labels, matrix)
        made = label_set_key(data)
        self._objects.put(made, data)
        are_its_own = tuple(templates) == tuple(self.templates(model, labels, None))
        own = None if are_its_own else list(templates)
        metrics.DB_QUERIES.labels("label_matrix_insert").inc()
        with self._database.statement() as cursor:
            cursor.execute(INSERT, (definition, model.manifest_key, made, own))
            (key,) = cursor.fetchone() or (made,)
        metrics.LABEL_MATRICES.labels("embedded").inc()
        log.info("labels embedded", action="embed_labels", model=manifest.model,
                 version=manifest.version, labels=len(labels), prompts=len(texts))  # fmt: skip
        self._known.put((definition, model.manifest_key), str(key))
        return str(key)


def _pooled(embeddings: Embeddings, templates: int) -> Embeddings:
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = prompts.pool(embeddings, templates)
    if not np.isfinite(matrix).all():  # a label's templates cancel each other out
        raise PromptsUnavailable("a label's prompts have no mean direction")
    return matrix


class NeverMade(Exception):
    """Nobody embedded these labels by this model yet."""


class _Turns:
    """One at a time for each name; no name is kept that nobody holds or waits for."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._taken: set[str] = set()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Raises PromptsUnavailable when the turn did not come in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: name not in self._taken, self._patience_s):
                raise PromptsUnavailable("the same labels are being embedded for another request")
            self._taken.add(name)
        try:
            yield
        finally:
            with self._changed:
                self._taken.remove(name)
                self._changed.notify_all()
