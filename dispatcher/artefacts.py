"""Content addresses go in, manifests and label sets come out: fetched once, kept while in use."""

from collections.abc import Callable
from typing import TypeVar

import structlog

from contracts.manifest import Manifest, ManifestError
from runtime.errors import ObjectNotFound, Unavailable
from runtime.lru import Lru
from runtime.objects import ObjectStore
from zero_shot import label_set
from zero_shot.label_set import BadLabelSet, LabelSet

T = TypeVar("T")
log = structlog.get_logger(__name__)

KEPT_MANIFESTS = 8


class BadArtefact(Unavailable):
    """Missing, damaged or newer than this version: an operator mends it, and images wait."""


class Artefacts:
    """What is at a content address never changes, so a cached copy is never stale."""

    def __init__(self, objects: ObjectStore, label_set_bytes: int) -> None:
        """`label_set_bytes` bounds the label sets kept: one may be 3 kB or 40 MB."""
        self._manifests = Lru(KEPT_MANIFESTS, lambda key: _load(objects, key, parse_manifest))
        self._label_sets = Lru(
            label_set_bytes,
            lambda key: _load(objects, key, parse_label_set),
            lambda label_set: label_set.memory_bytes,
        )

    def manifest(self, key: str) -> Manifest:
        """Raises BadArtefact or another Retryable."""
        return self._manifests.get(key)

    def label_set(self, key: str) -> LabelSet:
        """Raises BadArtefact or another Retryable."""
        return self._label_sets.get(key)


def _load(objects: ObjectStore, key: str, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(objects.get(key))
    except (ObjectNotFound, BadArtefact) as exc:
        log.error("artefact cannot be used", action="artefact", key=key, error=str(exc))
        raise BadArtefact(f"{key} cannot be used: {exc}") from exc


def parse_manifest(data: bytes) -> Manifest:
    try:
        manifest = Manifest.from_json(data)
    except ManifestError as exc:
        raise BadArtefact(f"not a manifest of this version: {exc}") from exc
    _require_storable(manifest.model, manifest.version)
    return manifest


def parse_label_set(data: bytes) -> LabelSet:
    try:
        decoded = label_set.decode(data)
    except BadLabelSet as exc:
        raise BadArtefact(str(exc)) from exc
    _require_storable(*decoded.labels)
    return decoded


def _require_storable(*texts: str) -> None:
    """They go into every answer, and no reader of those takes NUL or half a surrogate pair."""
    for text in texts:
        try:
            if b"\0" in text.encode():
                raise BadArtefact(f"{text!r:.100} holds NUL")
        except UnicodeEncodeError as exc:
            raise BadArtefact(f"{text!r:.100} is no text") from exc
