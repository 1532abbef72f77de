"""Image embeddings as rows of Postgres: kept with the labels they gave, read to be scored again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.extras import execute_values

from contracts.events import ImageClassified
from gateway import images, metrics
from gateway.images import Image

STORED_FLOAT = "<f4"  # as contracts.events.ImageClassified carries it

# An image has one, of the result that its labels are of.
KEEP = """
INSERT INTO image_embeddings (image_id, model_key, embedding) VALUES %s
ON CONFLICT (image_id) DO UPDATE SET
    model_key = EXCLUDED.model_key, embedding = EXCLUDED.embedding"""

SELECT = f"""
SELECT {images.COLUMNS}, image_embeddings.model_key, embedding
FROM images LEFT JOIN image_embeddings ON image_id = id WHERE id = %s"""  # noqa: S608


@dataclass(frozen=True)
class Embedding:
    """Float32 [D] of unit length, by the model whose manifest is at `model_key`."""

    model_key: str
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """An image with its embedding; None where it has none, or none was kept yet."""

    image: Image
    embedding: Embedding | None


def keep(cursor: Cursor, results: Sequence[ImageClassified]) -> None:
    """Of images that these results made COMPLETED; older dispatchers send no embedding."""
    rows = [(r.image_id, r.model_key, r.embedding) for r in results if r.embedding is not None]
    if rows:
        metrics.DB_QUERIES.labels("keep_embeddings").inc()
        execute_values(cursor, KEEP, rows, page_size=len(rows))


def find(cursor: Cursor, image_id: int) -> Embedded | None:
    metrics.DB_QUERIES.labels("select_embedding").inc()
    cursor.execute(SELECT, (image_id,))
    row = cursor.fetchone()
    if row is None:
        return None
    *columns, model_key, packed = row
    embedding = None
    if packed is not None:
        embedding = Embedding(model_key, np.frombuffer(packed, STORED_FLOAT).astype(np.float32))
    return Embedded(Image.from_row(columns), embedding)
