"""Content addresses go in, what is stored there comes out: fetched and parsed once, kept in use."""

from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from runtime.errors import ObjectNotFound, Unavailable
from runtime.lru import Lru
from runtime.objects import ObjectStore

T = TypeVar("T")
log = structlog.get_logger(__name__)


class BadArtefact(Unavailable):
    """Missing, damaged or newer than this version: an operator mends it, and callers wait."""


class ArtefactCache(Generic[T]):
    """What is at a content address never changes, so a cached copy is never stale."""

    def __init__(
        self,
        objects: ObjectStore,
        parse: Callable[[bytes], T],
        limit: int,
        weight_of: Callable[[T], int] = lambda _: 1,
    ) -> None:
        """`parse` raises ValueError for what is none; `limit` bounds the weight of those kept."""
        self._objects = objects
        self._parse = parse
        self._kept = Lru(limit, self._load, weight_of)

    def get(self, key: str) -> T:
        """Raises BadArtefact or another Retryable."""
        return self._kept.get(key)

    def _load(self, key: str) -> T:
        try:
            return self._parse(self._objects.get(key))
        except (ObjectNotFound, ValueError) as exc:
            log.error("artefact cannot be used", action="artefact", key=key, error=str(exc))
            raise BadArtefact(f"{key} cannot be used: {exc}") from exc
