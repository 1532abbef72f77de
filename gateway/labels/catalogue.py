"""Named label sets are made, read and deleted here; each belongs to no model and serves them all.

The set that comes with the active model is there under its name, read-only, before any other of
that name.
"""

from collections.abc import Callable

import structlog

from gateway.database import Database
from gateway.labels import sets as label_sets
from gateway.labels.definitions import Definition
from gateway.labels.matrices import LabelMatrices, MatrixCache
from gateway.labels.sets import LabelSet, Summary
from gateway.problems import Conflict, NotFound
from gateway.registry import ActiveModel, Manifests, Registry
from runtime.errors import Unavailable

log = structlog.get_logger(__name__)

FIRST = "-"  # before every name: the cursor of a page that follows the model's own set alone


class LabelCatalogue:
    """Every method may raise Retryable. `on_change` is told the name of a set made or deleted."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        manifests: Manifests,
        matrices: LabelMatrices,
        matrix_cache: MatrixCache,
        on_change: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._database = database
        self._registry = registry
        self._manifests = manifests
        self._matrices = matrices
        self._matrix_cache = matrix_cache
        self._on_change = on_change

    def existing(self, name: str, definition: Definition) -> LabelSet | None:
        """The same set, made before. Raises Conflict where the name is taken by another."""
        model = self._registry.active()
        if name == model.label_set:
            raise Conflict(f"{name!r} is the model's own label set. Choose another name.")
        self._matrices.check(model, definition)
        with self._database.statement() as cursor:
            found = label_sets.find(cursor, name)
        return _same(found, definition) if found else None

    def create(self, name: str, definition: Definition) -> tuple[LabelSet, bool]:
        """The set and whether it is new; embedded first, so that it answers uploads at once.

        Takes as long as that does. Raises Conflict or PromptsUnavailable, then nothing is kept.
        """
        self._matrices.key(self._registry.active(), definition.labels, definition.templates)
        made, is_new = self._database.retrying(
            lambda cursor: label_sets.insert(cursor, name, definition)
        )
        if is_new:
            self._on_change(name)
            log.info("label set made", action="create_label_set", label_set=name,
                     labels=len(definition.labels))  # fmt: skip
        return _same(made, definition), is_new

    def get(self, name: str) -> LabelSet:
        """Raises NotFound."""
        model = self._registry.active()
        if name == model.label_set:
            return self._default(model)
        with self._database.statement() as cursor:
            found = label_sets.find(cursor, name)
        if found is None:
            raise _not_found(name)
        return found

    def page(self, after: str | None, limit: int) -> tuple[list[Summary], str | None]:
        """`limit` of them: the model's own first, then by name; and where the next page starts."""
        model = self._registry.active()
        own = [] if after else [Summary.of(self._default(model))]
        room = limit - len(own)
        with self._database.statement() as cursor:
            found = label_sets.select(cursor, after or FIRST, model.label_set, room + 1)
        page = found[:room]
        last = page[-1].name if page else FIRST
        return own + page, last if len(found) > room else None

    def delete(self, name: str) -> None:
        """Raises NotFound, or Conflict for the model's own. Matrices stay: events name them."""
        if name == self._registry.active().label_set:
            raise Conflict(f"{name!r} is the model's own label set; it cannot be deleted.")
        with self._database.statement() as cursor:
            if not label_sets.delete(cursor, name):
                raise _not_found(name)
        self._on_change(name)
        log.info("label set deleted", action="delete_label_set", label_set=name)

    def embed_all(self, model: ActiveModel) -> None:
        """Before `model` answers: every set is embedded by it, or was already."""
        with self._database.statement() as cursor:
            names = label_sets.names(cursor)
        for number, name in enumerate(names, start=1):
            with self._database.statement() as cursor:
                found = label_sets.find(cursor, name)
            if found:
                self._matrices.key(model, found.definition.labels, found.definition.templates)
                log.info("label set ready", action="register_model", label_set=name,
                         number=number, of=len(names))  # fmt: skip

    def _default(self, model: ActiveModel) -> LabelSet:
        labels = self._matrix_cache.get(model.label_set_key).labels
        templates = self._manifests.get(model.manifest_key).templates
        with self._database.statement() as cursor:
            since = label_sets.registered_at(cursor, model.manifest_key, model.label_set_key)
        if since is None:
            raise Unavailable(f"the model of {model.manifest_key} is gone")
        return LabelSet(model.label_set, Definition(labels, templates), since, is_default=True)


def _same(found: LabelSet, definition: Definition) -> LabelSet:
    if found.definition != definition:
        raise Conflict(
            f"There is a label set {found.name!r} already, with other labels or templates. "
            "Choose another name, or delete it first."
        )
    return found


def _not_found(name: str) -> NotFound:
    return NotFound(f"There is no label set {name!r}.")
