"""Content addresses go in, manifests and label sets come out: fetched once, kept while in use."""

import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from contracts.manifest import Manifest, ManifestError
from dispatcher.scoring import LabelSet
from runtime.errors import Permanent
from runtime.objects import ObjectStore

T = TypeVar("T")

KEPT_MANIFESTS = 8
KEPT_LABEL_SETS = 64


class Artefacts:
    """What is at a content address never changes, so a cached copy is never stale."""

    def __init__(self, objects: ObjectStore) -> None:
        self._manifests = _Lru(KEPT_MANIFESTS, lambda key: parse_manifest(objects.get(key)))
        self._label_sets = _Lru(KEPT_LABEL_SETS, lambda key: parse_label_set(objects.get(key)))

    def manifest(self, key: str) -> Manifest:
        """Raises Retryable or Permanent."""
        return self._manifests.get(key)

    def label_set(self, key: str) -> LabelSet:
        """Raises Retryable or Permanent."""
        return self._label_sets.get(key)


def parse_manifest(data: bytes) -> Manifest:
    try:
        return Manifest.from_json(data)
    except ManifestError as exc:
        raise Permanent("bad_manifest", f"The model's manifest cannot be used: {exc}.") from exc


def parse_label_set(data: bytes) -> LabelSet:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            labels = tuple(str(label) for label in arrays["labels"])
            embeddings = np.ascontiguousarray(arrays["embeddings"], dtype=np.float32)
    except Exception as exc:  # a damaged zip raises nearly anything
        raise Permanent("bad_label_set", f"The label set cannot be read: {exc}.") from exc
    if embeddings.ndim != 2 or len(labels) != len(embeddings) or not labels:  # noqa: PLR2004
        raise Permanent("bad_label_set", "The label set's names and embeddings do not match.")
    if not np.isfinite(embeddings).all():
        raise Permanent("bad_label_set", "The label set's embeddings are not all numbers.")
    return LabelSet(labels, embeddings)


class _Lru(Generic[T]):
    """Least recently used of `size` loaded values; loading happens outside the lock."""

    def __init__(self, size: int, load: Callable[[str], T]) -> None:
        self._size = size
        self._load = load
        self._lock = threading.Lock()
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str) -> T:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = self._load(key)
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value
