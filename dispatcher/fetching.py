"""Step 6a: an event goes in, its image's bytes come out; a fault is laid at the right door."""

from contracts.events import ImageSubmitted
from runtime.errors import ObjectNotFound, Retryable, Unavailable
from runtime.objects import ObjectStore


class Unreadable(Retryable):
    """The store serves other objects, but not this one."""


class Originals:
    """The uploaded images.

    A store may be away, unmounted or wrongly configured, which no image should pay for. So when
    one cannot be had, the manifest of its model is asked for, which must be there; and then the
    image again, as the store may have come back between the two.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def fetch(self, event: ImageSubmitted) -> bytes:
        """Raises ObjectNotFound or Unreadable, which concern this image alone, or Unavailable."""
        try:
            return self._objects.get(event.s3_key)
        except (ObjectNotFound, Retryable):
            self._require_store(event.model_key)
        try:
            return self._objects.get(event.s3_key)
        except Retryable as exc:
            raise Unreadable(f"The image's object cannot be read: {exc}") from exc

    def _require_store(self, known_key: str) -> None:
        try:
            self._objects.get(known_key)
        except (ObjectNotFound, Retryable) as exc:
            raise Unavailable(f"the object store has not even the model's manifest: {exc}") from exc
