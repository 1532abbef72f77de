"""An image as callers see it: one JSON text, whether from Postgres or from Redis."""

import json
from datetime import datetime, timezone

from contracts.objects import IMAGES_PREFIX
from gateway.images import Image


def image_url(image: Image, base_url: str) -> str:
    return f"{base_url.rstrip('/')}/{image.s3_key.removeprefix(IMAGES_PREFIX)}"


def timestamp(moment: datetime) -> str:
    """UTC without an offset, milliseconds, as in `2025-12-24T10:30:00.000`."""
    utc = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds")


def fields(image: Image, base_url: str) -> dict[str, object]:
    """The fields of `GET /api/v1/images/{id}`; `failureReason` only where it failed."""
    resource: dict[str, object] = {
        "id": image.id,
        "imageUrl": image_url(image, base_url),
        "status": image.status.value,
        "classificationResult": image.classification_result,
        "confidenceScore": image.confidence_score,
        "createdAt": timestamp(image.created_at),
        "updatedAt": timestamp(image.updated_at),
    }
    if image.failure_reason is not None:
        resource["failureReason"] = image.failure_reason
    return resource


def accepted_json(image: Image, base_url: str) -> bytes:
    """The body of the upload's 201."""
    accepted = fields(image, base_url)
    return _dumps({name: accepted[name] for name in ("id", "imageUrl", "status", "createdAt")})


def to_json(image: Image, base_url: str) -> bytes:
    return _dumps(fields(image, base_url))


def is_terminal(resource: bytes) -> bool:
    """Whether a resource made by `to_json` will not change any more."""
    return b'"status":"COMPLETED"' in resource or b'"status":"FAILED"' in resource


def _dumps(value: dict[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
