"""A choice of labels goes in; the active model with the matrix to score against comes out."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from gateway.database import Database
from gateway.labels import sets as label_sets
from gateway.labels.choice import LabelChoice
from gateway.labels.definitions import AD_HOC, Definition
from gateway.labels.matrices import LabelMatrices
from gateway.labels.prompts import PromptsUnavailable
from gateway.problems import Conflict, Unusable
from gateway.registry import ActiveModel, Registry
from runtime.triton import ModelUnknown

REMEMBERED_S = 5.0  # so long may another process still take a set that was deleted here
MAX_REMEMBERED = 1_000


class Labelling:
    """Which labels an upload is scored against, as content addresses. May raise Retryable."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        matrices: LabelMatrices,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._registry = registry
        self._matrices = matrices
        self._remembered = _Remembered(clock)

    def known(self, choice: LabelChoice, model: ActiveModel | None = None) -> ActiveModel | None:
        """None where the labels must be embedded first. Raises Unusable for an unknown set.

        `model` answers in place of the active one.
        """
        model = model or self._registry.active()
        name, definition = choice.label_set, choice.ad_hoc
        if name == model.label_set:
            return model
        if name and (remembered := self._remembered.get(model, name)):
            return remembered
        definition = definition or self._definition(name)
        key = self._matrices.find(model, definition.labels, definition.templates)
        return self._answering(model, name, key) if key else None

    def embedded(self, choice: LabelChoice, model: ActiveModel | None = None) -> ActiveModel:
        """As `known`, for as long as the embedding takes.

        Raises PromptsUnavailable, or Conflict where `model` is not served any more.
        """
        answered_by = model or self._registry.active()
        name, definition = choice.label_set, choice.ad_hoc
        if definition:
            self._matrices.check(answered_by, definition)
        else:
            definition = self._definition(name)
        try:
            key = self._matrices.key(answered_by, definition.labels, definition.templates)
        except PromptsUnavailable as exc:
            # The active one may be replaced meanwhile: an upload's next try meets its successor.
            if model and isinstance(exc.__cause__, ModelUnknown) and self._is_retired(model):
                raise Conflict(
                    "The model version that saw this image is not served any more, and these "
                    "labels were never embedded by it. Use labels that were, or upload the image "
                    "again."
                ) from exc
            raise
        return self._answering(answered_by, name, key)

    def _is_retired(self, model: ActiveModel) -> bool:
        """The active one is only away: it comes back."""
        return model.manifest_key != self._registry.active().manifest_key

    def forget(self, name: str) -> None:
        """The set was made or deleted here."""
        self._remembered.forget(name)

    def _definition(self, name: str | None) -> Definition:
        with self._database.statement() as cursor:
            found = label_sets.find(cursor, name or "")
        if found is None:
            raise Unusable(f"There is no label set {name!r}. See /api/v1/label-sets.")
        return found.definition

    def _answering(self, model: ActiveModel, name: str | None, key: str) -> ActiveModel:
        answering = replace(model, label_set=name or AD_HOC, label_set_key=key)
        if name:
            self._remembered.put(model, name, answering)
        return answering


class _Remembered:
    """What a set's name stands for with a model, for REMEMBERED_S; unknown names are never kept."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, tuple[float, ActiveModel, ActiveModel]] = {}

    def get(self, model: ActiveModel, name: str) -> ActiveModel | None:
        with self._lock:
            until_s, with_model, answering = self._until.get(name, (0.0, None, None))
        return answering if self._clock() < until_s and with_model == model else None

    def put(self, model: ActiveModel, name: str, answering: ActiveModel) -> None:
        with self._lock:
            if len(self._until) >= MAX_REMEMBERED:
                self._until.clear()
            self._until[name] = (self._clock() + REMEMBERED_S, model, answering)

    def forget(self, name: str) -> None:
        with self._lock:
            self._until.pop(name, None)
