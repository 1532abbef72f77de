"""Step 3: a validated upload becomes a stored object and a committed row; only then is it a 201."""

from contextlib import suppress

import structlog

from contracts.objects import new_image_key
from gateway import images
from gateway.database import Database
from gateway.images import Image, NewImage
from gateway.notifications import Doorbell
from gateway.registry import ActiveModel, Registry
from gateway.validation import InspectedImage, display_name, safe_stem
from runtime.errors import Retryable, StorageFull
from runtime.objects import ObjectStore

log = structlog.get_logger(__name__)


class Submission:
    """Object first, row second, so that a row never names an object that is not there."""

    def __init__(
        self, database: Database, objects: ObjectStore, registry: Registry, doorbell: Doorbell
    ) -> None:
        self._database = database
        self._objects = objects
        self._registry = registry
        self._doorbell = doorbell

    def submit(
        self,
        picture: InspectedImage,
        filename: str | None,
        description: str | None,
        trace_id: str,
        answering: ActiveModel | None = None,
    ) -> Image:
        """Returns the PENDING image once nothing can lose it.

        `answering` names the model and labels; None: the active model with its default labels.
        Raises Retryable, then no row exists unless the commit's outcome could not be known.
        """
        model = answering or self._registry.active()
        new = NewImage(
            s3_key=new_image_key(safe_stem(filename), picture.extension),
            filename=display_name(filename),
            media_type=picture.media_type,
            size_bytes=len(picture.data),
            width_px=picture.width_px,
            height_px=picture.height_px,
            description=description,
            trace_id=trace_id,
            model_key=model.manifest_key,
            label_set=model.label_set,
            label_set_key=model.label_set_key,
        )
        self._objects.put(new.s3_key, picture.data)
        image = self._insert(new)
        self._doorbell.ring()
        log.info("image accepted", action="submit", image_id=image.id, trace_id=trace_id,
                 media_type=new.media_type, size_bytes=new.size_bytes)  # fmt: skip
        return image

    def _insert(self, new: NewImage) -> Image:
        try:
            return self._database.retrying(lambda cursor: images.insert(cursor, new))
        except StorageFull:
            with suppress(Retryable):  # the statement failed for certain: no row names it
                self._objects.delete(new.s3_key)
            raise
