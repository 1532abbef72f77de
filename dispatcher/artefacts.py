"""Content addresses go in, manifests and label sets come out that images can be answered with."""

from contracts.manifest import Manifest
from runtime.artefacts import ArtefactCache
from runtime.objects import ObjectStore
from zero_shot import label_set
from zero_shot.label_set import LabelSet

KEPT_MANIFESTS = 8


class Artefacts:
    """What events name; kept while in use."""

    def __init__(self, objects: ObjectStore, label_set_bytes: int) -> None:
        """`label_set_bytes` bounds the label sets kept: one may be 3 kB or 40 MB."""
        self._manifests = ArtefactCache(objects, parse_manifest, KEPT_MANIFESTS)
        self._label_sets = ArtefactCache(
            objects, parse_label_set, label_set_bytes, lambda kept: kept.memory_bytes
        )

    def manifest(self, key: str) -> Manifest:
        """Raises BadArtefact or another Retryable."""
        return self._manifests.get(key)

    def label_set(self, key: str) -> LabelSet:
        """Raises BadArtefact or another Retryable."""
        return self._label_sets.get(key)


def parse_manifest(data: bytes) -> Manifest:
    """Raises ValueError."""
    manifest = Manifest.from_json(data)
    _require_storable(manifest.model, manifest.version)
    return manifest


def parse_label_set(data: bytes) -> LabelSet:
    """Raises ValueError."""
    decoded = label_set.decode(data)
    _require_storable(*decoded.labels)
    return decoded


def _require_storable(*texts: str) -> None:
    """They go into every answer, and no reader of those takes NUL or half a surrogate pair."""
    for text in texts:
        if b"\0" in text.encode():  # UnicodeEncodeError is a ValueError
            raise ValueError(f"{text!r:.100} holds NUL")
