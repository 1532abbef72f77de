"""A stored embedding and other labels go in, the image with those labels comes out, uninferred."""

from dataclasses import dataclass, replace

from psycopg2.extensions import cursor as Cursor  # noqa: N812

from contracts.events import ImageClassified
from gateway import embeddings, images, metrics, resource
from gateway.cache import Cache
from gateway.database import Database
from gateway.embeddings import Embedding
from gateway.images import Image, Status
from gateway.labels.matrices import MatrixCache
from gateway.problems import Conflict, NotFound
from gateway.registry import ActiveModel, Manifests
from runtime.errors import Unavailable
from zero_shot.scoring import top_k

COMES_IN_S = 1  # a classification that is on its way, usually

# The newest, where the model was registered with several.
SELECT_DEFAULT = """
SELECT manifest_key, label_set_name, label_set_key FROM models WHERE manifest_key = %s
ORDER BY active DESC, registered_at DESC LIMIT 1"""


@dataclass(frozen=True)
class Scorable:
    """A COMPLETED image, its embedding, and the model that made it with its default labels."""

    image: Image
    embedding: Embedding
    model: ActiveModel


class Reclassification:
    """Labels again, by the model version that saw the image, whichever is active now."""

    def __init__(
        self,
        database: Database,
        cache: Cache,
        manifests: Manifests,
        matrix_cache: MatrixCache,
        image_base_url: str,
    ) -> None:
        self._database = database
        self._cache = cache
        self._manifests = manifests
        self._matrix_cache = matrix_cache
        self._base_url = image_base_url

    def embedding_of(self, image_id: int) -> tuple[Image, Embedding]:
        """Raises NotFound, Conflict where the image has none (yet), or Retryable."""
        found = self._database.retrying(lambda cursor: embeddings.find(cursor, image_id))
        if found is None:
            raise NotFound(f"There is no image {image_id}.")
        if found.image.status is Status.COMPLETED and found.embedding is not None:
            return found.image, found.embedding
        raise _has_none(found.image)

    def scorable(self, image_id: int) -> Scorable:
        """As `embedding_of`."""
        image, embedding = self.embedding_of(image_id)
        model = self._database.retrying(lambda cursor: _find_model(cursor, embedding.model_key))
        if model is None:
            raise Unavailable(f"the model of {embedding.model_key} is not registered here")
        return Scorable(image, embedding, model)

    def preview(self, scorable: Scorable, answering: ActiveModel, k: int) -> bytes:
        """The image's resource as it would be; nothing is stored. Raises Retryable."""
        result = self._score(scorable, answering, k)
        image = replace(
            scorable.image,
            classification_result=images.classification_json(result),
            confidence_score=result.scores[0].confidence,
        )
        return resource.to_json(image, self._base_url)

    def classify(self, scorable: Scorable, answering: ActiveModel, k: int) -> bytes:
        """The image's resource with its new labels, stored. Raises NotFound or Retryable."""
        result = self._score(scorable, answering, k)
        image = self._database.retrying(
            lambda cursor: images.relabel(cursor, result, answering.label_set_key)
        )
        if image is None:  # deleted a moment ago
            raise NotFound(f"There is no image {scorable.image.id}.")
        text = resource.to_json(image, self._base_url)
        self._cache.put_terminal({image.id: text})
        return text

    def _score(self, scorable: Scorable, answering: ActiveModel, k: int) -> ImageClassified:
        manifest = self._manifests.get(scorable.embedding.model_key)
        labels = self._matrix_cache.get(answering.label_set_key)
        if labels.embeddings.shape[1:] != scorable.embedding.values.shape:
            raise Unavailable(f"{answering.label_set_key} belongs to another model")
        return ImageClassified(
            image_id=scorable.image.id,
            scores=top_k(scorable.embedding.values, labels, manifest.logit_scale, k),
            label_set=answering.label_set,
            model=manifest.model,
            model_version=manifest.version,
            trace_id=scorable.image.trace_id,
            model_key=scorable.embedding.model_key,
        )


def _find_model(cursor: Cursor, manifest_key: str) -> ActiveModel | None:
    metrics.DB_QUERIES.labels("model").inc()
    cursor.execute(SELECT_DEFAULT, (manifest_key,))
    row = cursor.fetchone()
    return ActiveModel(*row) if row else None


def _has_none(image: Image) -> Conflict:
    if image.status is Status.COMPLETED:
        return Conflict(
            f"Image {image.id} was classified before embeddings were kept. "
            "Upload it again to have its embedding."
        )
    if image.status is Status.FAILED:
        return Conflict(f"Image {image.id} failed and has no embedding: {image.failure_reason}")
    return Conflict(
        f"Image {image.id} is still {image.status.value}; its embedding comes with its labels. "
        f"Wait for them: /api/v1/images/{image.id}?wait_s=30.",
        headers={"Retry-After": str(COMES_IN_S)},
    )
