"""Embeddings over HTTP: read as numbers, or scored against other labels without a new inference."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from contracts.events import MAX_IMAGE_ID
from gateway import problems
from gateway.api.json_body import JSON, parse_object, read_json
from gateway.api.labels import text_model_away
from gateway.api.schemas import ClassificationRequest, EmbeddingResource, ImageResource
from gateway.api.state import Services, services
from gateway.label_choice import PARAMETERS, LabelChoice, chosen_in_json
from gateway.problems import Conflict, Unusable
from gateway.prompts import PromptsUnavailable
from gateway.reclassification import Scorable
from gateway.registry import ActiveModel
from runtime.triton import ModelUnknown

router = APIRouter(prefix="/api/v1/images", tags=["images"])

DEFAULT_TOP_K = 5
MAX_TOP_K = 100
TOP_K, SAVE = "topK", "save"
FIELDS = {*PARAMETERS, TOP_K, SAVE}

ImageId = Annotated[
    int, Path(ge=1, le=MAX_IMAGE_ID, description="The id that the upload returned.")
]
App = Annotated[Services, Depends(services)]

READ_PROBLEMS = problems.documented(
    problems.NotFound, problems.Conflict, problems.Unusable, problems.Overloaded
)
CLASSIFY_PROBLEMS = problems.documented(
    problems.Malformed,
    problems.NotFound,
    problems.TooSlow,
    problems.Conflict,
    problems.TooLarge,
    problems.UnsupportedType,
    problems.Unusable,
    problems.Overloaded,
    problems.StorageFull,
)
# Read from the request as a stream, which FastAPI cannot describe by itself.
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": ClassificationRequest.model_json_schema()}},
    }
}


@router.get("/{image_id}/embedding", response_model=EmbeddingResource, responses=READ_PROBLEMS)
def get_embedding(app: App, image_id: ImageId) -> Response:
    """The image's embedding, of unit length, by the model version that labelled it."""
    image, embedding = app.reclassification.embedding_of(image_id)
    classification = json.loads(image.classification_result or "{}")
    body = {
        "id": image.id,
        "model": classification["model"],
        "modelVersion": classification["modelVersion"],
        "dim": len(embedding.values),
        "embedding": embedding.values.tolist(),
    }
    return Response(json.dumps(body, separators=(",", ":")), media_type=JSON)


@router.post(
    "/{image_id}/classify",
    response_model=ImageResource,
    openapi_extra=REQUEST_BODY,
    responses=CLASSIFY_PROBLEMS,
)
async def classify_image(request: Request, app: App, image_id: ImageId) -> Response:
    """Label a COMPLETED image again, from its embedding: with other labels, or more of them.

    The model version that saw the image answers, whichever is active now. `{}` asks for its own
    labels. The new labels replace the old ones unless `save` is false.
    """
    data = await read_json(request, app.json_limits)
    asked = await app.threads.run(_asked, data)
    scorable = await app.threads.run(app.reclassification.scorable, image_id)
    answering = await _answering(app, asked.choice, scorable)
    how = app.reclassification.classify if asked.save else app.reclassification.preview
    return Response(await app.threads.run(how, scorable, answering, asked.top_k), media_type=JSON)


@dataclass(frozen=True)
class _Asked:
    choice: LabelChoice | None
    top_k: int
    save: bool


def _asked(data: bytes) -> _Asked:
    """Raises Malformed or Unusable."""
    fields = parse_object(data)
    for name in sorted(fields.keys() - FIELDS):
        raise Unusable(f"{name[:40]!r} is no field here; there are {', '.join(sorted(FIELDS))}.")
    top_k, save = fields.get(TOP_K, DEFAULT_TOP_K), fields.get(SAVE, True)
    if type(top_k) is not int or not 1 <= top_k <= MAX_TOP_K:
        raise Unusable(f"{TOP_K} must be a whole number from 1 to {MAX_TOP_K}.")
    if not isinstance(save, bool):
        raise Unusable(f"{SAVE} must be true or false.")
    return _Asked(chosen_in_json(fields), top_k, save)


async def _answering(app: Services, choice: LabelChoice | None, scorable: Scorable) -> ActiveModel:
    """The labels' matrix by the image's model, made now if it never was."""
    if choice is None:
        return scorable.model
    known = await app.threads.run(app.labelling.known, choice, scorable.model)
    if known is not None:
        return known
    try:
        return await app.embedding.run(app.labelling.embedded, choice, scorable.model)
    except PromptsUnavailable as exc:
        if isinstance(exc.__cause__, ModelUnknown):
            raise Conflict(
                "The model version that saw this image is not served any more, and these labels "
                "were never embedded by it. Use labels that were, or upload the image again."
            ) from exc
        raise text_model_away() from exc
