"""Embeddings over HTTP: read as numbers, or scored against other labels without a new inference."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from contracts.events import MAX_IMAGE_ID
from gateway import problems
from gateway.api import labels, problem_json
from gateway.api.json_body import JSON, PROBLEM_EXAMPLES, parse_object, read_json
from gateway.api.schemas import ClassificationRequest, EmbeddingResource, ImageResource
from gateway.api.state import Services, services
from gateway.labels.choice import PARAMETERS, LabelChoice, chosen_in_json
from gateway.problems import Unusable

router = APIRouter(prefix="/api/v1/images", tags=["images"])

DEFAULT_TOP_K = 5
MAX_TOP_K = 100
TOP_K, SAVE = "topK", "save"
FIELDS = {*PARAMETERS, TOP_K, SAVE}

ImageId = Annotated[
    int, Path(ge=1, le=MAX_IMAGE_ID, description="The id that the upload returned.")
]
App = Annotated[Services, Depends(services)]

READ_PROBLEMS = problem_json.documented(
    problems.NotFound,
    problems.Conflict,
    problems.Unusable,
    problems.Overloaded,
    instance="/api/v1/images/7/embedding",
    examples={problems.Unusable: "Correct image_id: see errors."},
)
CLASSIFY_PROBLEMS = problem_json.documented(
    problems.Malformed,
    problems.NotFound,
    problems.TooSlow,
    problems.Conflict,
    problems.TooLarge,
    problems.UnsupportedType,
    problems.Unusable,
    problems.Overloaded,
    problems.StorageFull,
    instance="/api/v1/images/7/classify",
    examples=PROBLEM_EXAMPLES,
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

    The model version that saw the image answers, whichever is active now; `{}` asks for that
    model's own label set. The new labels replace the old ones unless `save` is false.
    """
    data = await read_json(request, app.json_limits)
    asked = await app.threads.run(_asked, data)
    scorable = await app.threads.run(app.reclassification.scorable, image_id)
    answering = scorable.model  # with its own labels
    if asked.choice:
        answering = await labels.answering(app, asked.choice, scorable.model)
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
