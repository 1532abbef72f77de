"""The JSON of the API as OpenAPI describes it; gateway/resource.py writes the same fields."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from gateway.images import Status
from gateway.labels.definitions import (
    MAX_AD_HOC_LABELS,
    MAX_LABEL_CHARS,
    MAX_LABELS,
    MAX_NAME_CHARS,
    MAX_TEMPLATE_CHARS,
    MAX_TEMPLATES,
)

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
        description="JSON text: class, confidence, top5 (as many as were asked for), labelSet, "
        "model, modelVersion."
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


LABEL_SET_EXAMPLE: JsonDict = {
    "name": "street",
    "labels": ["sports car", "bicycle", "bus", "pedestrian crossing"],
    "templates": ["a photo of a {}.", "a blurry photo of a {}, by night."],
}
SUMMARY_EXAMPLE: JsonDict = {
    "name": "street",
    "labelCount": 4,
    "templates": LABEL_SET_EXAMPLE["templates"],
    "default": False,
    "createdAt": "2025-12-24T10:30:00.000",
}

LabelSetName = Annotated[
    str,
    Field(pattern=f"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_CHARS - 1}}}$",
          description="Not `ad-hoc`, nor that of the model's own label set."),
]  # fmt: skip
Label = Annotated[str, Field(min_length=1, max_length=MAX_LABEL_CHARS)]
Template = Annotated[str, Field(max_length=MAX_TEMPLATE_CHARS, pattern=r"^[^{}]*\{\}[^{}]*$")]


class LabelSetDefinition(BaseModel):
    """Labels of your own, and the prompts they are put into."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": LABEL_SET_EXAMPLE})

    name: LabelSetName
    labels: list[Label] = Field(
        min_length=1,
        max_length=MAX_LABELS,
        description="All different, without control characters; trimmed and composed (NFC).",
    )
    templates: list[Template] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TEMPLATES,
        description="Each with one `{}`, the label's place; without them, the model's own.",
    )


class LabelSetSummary(BaseModel):
    """A label set without its labels."""

    model_config = ConfigDict(json_schema_extra={"example": SUMMARY_EXAMPLE})

    name: str
    labelCount: int  # noqa: N815
    templates: list[str] | None = Field(description="null: the active model's own.")
    default: bool = Field(description="Whether it is the model's own, which is read-only.")
    createdAt: Moment  # noqa: N815


class LabelSetResource(LabelSetSummary):
    """A label set with all its labels."""

    model_config = ConfigDict(
        json_schema_extra={"example": {**SUMMARY_EXAMPLE, "labels": LABEL_SET_EXAMPLE["labels"]}}
    )

    labels: list[str]


class LabelSetPage(BaseModel):
    """One page of label sets: the model's own on the first, then by name."""

    items: list[LabelSetSummary]
    nextCursor: str | None = Field(  # noqa: N815
        description="Pass as `cursor` for the next page; null on the last."
    )


EMBEDDING_EXAMPLE: JsonDict = {
    "id": 1,
    "model": "ViT-B-32",
    "modelVersion": "2",
    "dim": 3,
    "embedding": [0.36, 0.48, 0.8],
}


class EmbeddingResource(BaseModel):
    """What a model version made of an image: float32 numbers, of unit length together."""

    model_config = ConfigDict(json_schema_extra={"example": EMBEDDING_EXAMPLE})

    id: ImageId
    model: str
    modelVersion: str  # noqa: N815
    dim: int = Field(gt=0, description="How many numbers.")
    embedding: list[float]


class ClassificationRequest(BaseModel):
    """Labels to score an image against; none: its model's own."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"labels": ["bus", "bicycle"], "topK": 2}}
    )

    labelSet: LabelSetName | None = Field(  # noqa: N815
        default=None, description="A label set by name."
    )
    labels: list[Label] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_AD_HOC_LABELS,
        description="Labels for this request alone, in place of `labelSet`.",
    )
    templates: list[Template] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TEMPLATES,
        description="For `labels`, each with one `{}`; without them, the model's own.",
    )
    topK: int = Field(  # noqa: N815
        default=5, ge=1, le=100, description="Fewer where there are fewer labels."
    )
    save: bool = Field(default=True, description="Whether to replace the image's labels.")
