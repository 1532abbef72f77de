"""An image id goes in; its row, its cache entry and its object are gone."""

import structlog

from gateway import images
from gateway.cache import Cache
from gateway.database import Database
from runtime.errors import Retryable
from runtime.objects import ObjectStore

log = structlog.get_logger(__name__)


class Deletion:
    """Row first: from its commit on the image does not exist, whatever else may fail."""

    def __init__(self, database: Database, cache: Cache, objects: ObjectStore) -> None:
        self._database = database
        self._cache = cache
        self._objects = objects

    def delete(self, image_id: int) -> bool:
        """Returns False where there was no such image. Raises Retryable, then nothing is gone."""
        with self._database.statement() as cursor:
            s3_key = images.delete(cursor, image_id)
        if s3_key is None:
            return False
        self._cache.forget(image_id)
        try:
            self._objects.delete(s3_key)
        except Retryable as exc:
            log.error("object was left behind", action="delete", s3_key=s3_key, error=str(exc))
        log.info("image deleted", action="delete", image_id=image_id)
        return True
