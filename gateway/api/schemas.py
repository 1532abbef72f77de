"""The JSON of the API as OpenAPI describes it; gateway/resource.py writes the same fields."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from gateway.images import Status

CLASSIFICATION_EXAMPLE = (
    '{"class": "sports car", "confidence": 0.95, "top5": [{"class": "sports car", '
    '"confidence": 0.95}, {"class": "convertible", "confidence": 0.03}], '
    '"labelSet": "imagenet-1k", "model": "starter", "modelVersion": "1"}'
)
ACCEPTED_EXAMPLE: JsonDict = {
    "id": 1,
    "imageUrl": "https://cdn.example.com/images/0d9a3f6e-5c1b-4b5a-9c59-0c6f6a3f7f11-car.jpg",
    "status": "PENDING",
    "createdAt": "2025-12-24T10:30:00.000",
}
IMAGE_EXAMPLE: JsonDict = {
    **ACCEPTED_EXAMPLE,
    "status": "COMPLETED",
    "classificationResult": CLASSIFICATION_EXAMPLE,
    "confidenceScore": 0.95,
    "updatedAt": "2025-12-24T10:30:00.120",
}

ImageId = Annotated[int, Field(examples=[1])]
Moment = Annotated[datetime, Field(description="UTC, without an offset.")]


class AcceptedImage(BaseModel):
    """An upload that is stored and will be classified."""

    model_config = ConfigDict(json_schema_extra={"example": ACCEPTED_EXAMPLE})

    id: ImageId
    imageUrl: str  # noqa: N815 (the API's names)
    status: Status
    createdAt: Moment  # noqa: N815


class ImageResource(BaseModel):
    """An image, its status and, once it is COMPLETED, its labels."""

    model_config = ConfigDict(json_schema_extra={"example": IMAGE_EXAMPLE})

    id: ImageId
    imageUrl: str  # noqa: N815
    status: Status
    classificationResult: str | None = Field(  # noqa: N815
        description="JSON text: class, confidence, top5, labelSet, model, modelVersion."
    )
    confidenceScore: float | None = Field(ge=0, le=1)  # noqa: N815
    createdAt: Moment  # noqa: N815
    updatedAt: Moment  # noqa: N815
    failureReason: str | None = Field(  # noqa: N815
        default=None, description="Why a FAILED image has no labels; absent otherwise."
    )


class ImagePage(BaseModel):
    """One page of images, newest first."""

    items: list[ImageResource]
    nextCursor: str | None = Field(  # noqa: N815
        description="Pass as `cursor` for the next page; null on the last."
    )


class ReadinessReport(BaseModel):
    """Each part of the road with `ok`, or why it would not carry an upload."""

    ready: bool
    checks: dict[str, str]
