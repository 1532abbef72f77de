"""Steps 1 to 3: a photo over HTTP goes in, 201 with its id comes out once nothing can lose it."""

import re
import secrets
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.requests import ClientDisconnect

from gateway import metrics, problems, resource
from gateway.api import labels, problem_json
from gateway.api.multipart import Upload, read_upload
from gateway.api.schemas import AcceptedImage
from gateway.api.state import Services, services
from gateway.images import Image
from gateway.validation import InspectedImage, inspect

router = APIRouter(prefix="/api/v1/images", tags=["images"])

MAX_DESCRIPTION_CHARS = 2_000
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

# Read from the request as a stream, which FastAPI cannot describe by itself.
REQUEST_BODY: dict[str, Any] = {
    "parameters": labels.QUERY_PARAMETERS,
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "A JPEG, PNG or WebP image.",
                        },
                        "description": {
                            "type": "string",
                            "maxLength": MAX_DESCRIPTION_CHARS,
                            "description": "Free text, found by `GET /api/v1/images?q=`.",
                        },
                        **labels.SCHEMAS,
                    },
                },
                "encoding": {"file": {"contentType": "image/jpeg, image/png, image/webp"}},
            }
        },
    },
}


@router.post(
    "/upload",
    status_code=201,
    response_model=AcceptedImage,
    openapi_extra=REQUEST_BODY,
    responses=problem_json.documented(
        problems.Malformed,
        problems.TooSlow,
        problems.TooLarge,
        problems.UnsupportedType,
        problems.Unusable,
        problems.Overloaded,
        problems.StorageFull,
    ),
)
async def upload_image(
    request: Request,
    app: Annotated[Services, Depends(services)],
    traceparent: Annotated[str | None, Header()] = None,
) -> Response:
    """Store an image and queue it for classification, by the model's own labels or others.

    The answer does not wait for the labels: read them at `/api/v1/images/{id}?wait_s=30`.
    """
    started_s = time.perf_counter()
    try:
        upload = await read_upload(request, app.body_limits)
        image = await _accepted(app, request, upload, trace_id_of(traceparent))
    except problems.Problem as exc:
        outcome = "rejected" if exc.status < 500 else "failed"  # noqa: PLR2004
        metrics.UPLOADS.labels(outcome).inc()
        raise
    except ClientDisconnect:
        metrics.UPLOADS.labels("rejected").inc()
        raise
    except Exception:
        metrics.UPLOADS.labels("failed").inc()
        raise
    metrics.UPLOADS.labels("accepted").inc()
    metrics.UPLOAD_BYTES.inc(len(upload.file))
    metrics.UPLOAD_SECONDS.observe(time.perf_counter() - started_s)
    return Response(
        resource.accepted_json(image, app.image_base_url),
        status_code=201,
        media_type="application/json",
        headers={"Location": f"{router.prefix}/{image.id}"},
    )


async def _accepted(app: Services, request: Request, upload: Upload, trace_id: str) -> Image:
    choice = labels.choice_of(request, upload)
    if choice is None:  # the usual case takes one turn of a thread
        return await app.threads.run(_accept, app, upload, trace_id)
    # Nothing is embedded for a bad upload.
    picture, description = await app.threads.run(_inspected, app, upload)
    answering = await labels.answering(app, choice)
    return await app.threads.run(
        app.submission.submit, picture, upload.filename, description, trace_id, answering
    )


def _accept(app: Services, upload: Upload, trace_id: str) -> Image:
    picture, description = _inspected(app, upload)
    return app.submission.submit(picture, upload.filename, description, trace_id)


def _inspected(app: Services, upload: Upload) -> tuple[InspectedImage, str | None]:
    """Raises a Problem."""
    picture = inspect(upload.file, app.image_limits)
    return picture, _description(upload.fields.get("description"))


def _description(text: str | None) -> str | None:
    """Raises Unusable when it is too long. Blank text is none."""
    if text is None or not text.strip():
        return None
    if len(text) > MAX_DESCRIPTION_CHARS:
        raise problems.Unusable(
            f"description has {len(text)} characters; shorten it to {MAX_DESCRIPTION_CHARS}."
        )
    return text.strip()


def trace_id_of(traceparent: str | None) -> str:
    """The caller's trace (W3C Trace Context), or a new one."""
    match = TRACEPARENT.fullmatch(traceparent or "")
    given = match.group(1) if match else ""
    return given if given.strip("0") else secrets.token_hex(16)
