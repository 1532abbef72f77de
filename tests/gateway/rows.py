"""Rows and events of images that tests need, each with plain values unless told otherwise."""

import struct
from dataclasses import replace
from typing import Any

from contracts.events import ImageClassified, ImageFailed, Score
from contracts.objects import new_image_key
from gateway import images
from gateway.database import Database
from gateway.images import Image, NewImage

MODEL_KEY = "models/m.json"
EMBEDDING = struct.pack("<2f", 0.6, -0.8)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def new_image(**changes: Any) -> NewImage:
    plain = NewImage(
        s3_key=new_image_key("cat", "jpg"),
        filename="cat.jpg",
        media_type="image/jpeg",
        size_bytes=1_234,
        width_px=640,
        height_px=480,
        description=None,
        trace_id=TRACE_ID,
        model_key=MODEL_KEY,
        label_set="imagenet-1k",
        label_set_key="label-sets/l.npz",
    )
    return replace(plain, **changes)


def insert(database: Database, **changes: Any) -> Image:
    with database.statement() as cursor:
        return images.insert(cursor, new_image(**changes))


def find(database: Database, image_id: int) -> Image:
    with database.statement() as cursor:
        image = images.find(cursor, image_id)
    assert image is not None
    return image


def value(database: Database, query: str, *arguments: Any) -> Any:
    """The first column of the first row that `query` returns."""
    with database.statement() as cursor:
        cursor.execute(query, arguments)
        row = cursor.fetchone()
    return row[0] if row else None


def execute(database: Database, statement: str, *arguments: Any) -> None:
    with database.statement() as cursor:
        cursor.execute(statement, arguments)


def classified(image_id: int, *labels: str, confidence: float = 0.75) -> ImageClassified:
    names = labels or ("tabby cat", "tiger cat")
    scores = tuple(Score(name, confidence / (rank + 1)) for rank, name in enumerate(names))
    return ImageClassified(
        image_id, scores, "imagenet-1k", "starter", "1", TRACE_ID, MODEL_KEY, EMBEDDING
    )


def failed(
    image_id: int,
    detail: str = "The picture cannot be decoded.",
    reason: str = "undecodable_image",
    model_key: str | None = MODEL_KEY,
) -> ImageFailed:
    origin = "image-processing-topic-0-7"
    return ImageFailed(image_id, reason, detail, 1, origin, TRACE_ID, model_key)


def activate(database: Database, model_key: str, label_set_key: str = "label-sets/l.npz") -> None:
    """As `register-model` does, without an object."""
    execute(database, "UPDATE models SET active = false")
    execute(
        database,
        "INSERT INTO models (name, version, manifest_key, label_set_name, label_set_key, active)"
        " VALUES ('m', '1', %s, 'imagenet-1k', %s, true)"
        " ON CONFLICT (manifest_key, label_set_key) DO UPDATE SET active = true",
        model_key,
        label_set_key,
    )
