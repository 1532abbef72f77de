"""Step 10: an image id goes in, its resource comes out: Redis first, then Postgres, then fill."""

from gateway import images, metrics, resource
from gateway.cache import Cache
from gateway.database import Database


class Lookup:
    """Cache-aside reads of one image."""

    def __init__(self, database: Database, cache: Cache, image_base_url: str) -> None:
        self._database = database
        self._cache = cache
        self._base_url = image_base_url

    def get(self, image_id: int) -> bytes | None:
        """The image's JSON, None where there is no such image. Raises Retryable."""
        found = self._cache.get(image_id)
        metrics.CACHE_REQUESTS.labels("miss" if found is None else "hit").inc()
        if found is not None:
            return found.resource
        image = self._database.retrying(lambda cursor: images.find(cursor, image_id))
        if image is None:
            return None
        text = resource.to_json(image, self._base_url)
        self._cache.fill(image_id, text, terminal=image.status.terminal)
        return text
