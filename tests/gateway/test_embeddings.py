"""Embeddings: kept with the labels they gave, once, for as long as their image is there."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from contracts.events import MAX_EMBEDDING_DIM
from gateway import embeddings, images
from gateway.database import Database
from gateway.embeddings import Embedded
from tests.gateway import rows

pytestmark = pytest.mark.integration

COUNT = "SELECT count(*) FROM image_embeddings"


def kept(database: Database, *image_ids: int, packed: bytes = rows.EMBEDDING) -> None:
    with database.transaction() as cursor:
        results = [replace(rows.classified(each), embedding=packed) for each in image_ids]
        images.complete(cursor, results)
        embeddings.keep(cursor, results)


def find(database: Database, image_id: int) -> Embedded:
    with database.statement() as cursor:
        found = embeddings.find(cursor, image_id)
    assert found is not None
    return found


def test_what_was_kept_is_found_with_its_image(database: Database) -> None:
    one, two = rows.insert(database), rows.insert(database)
    kept(database, one.id, two.id)
    for image in (one, two):
        found = find(database, image.id)
        assert found.image == rows.find(database, image.id)
        assert found.embedding is not None
        assert found.embedding.model_key == rows.MODEL_KEY
        assert found.embedding.values.dtype == np.float32
        assert found.embedding.values.tolist() == np.array([0.6, -0.8], np.float32).tolist()


@pytest.mark.parametrize("dim", [1, 384, 512, 768, 2_048, MAX_EMBEDDING_DIM])
def test_any_dimension_comes_back_as_it_was(database: Database, dim: int) -> None:
    numbers = np.random.default_rng(dim).normal(size=dim).astype("<f4")
    image = rows.insert(database)
    kept(database, image.id, packed=numbers.tobytes())
    found = find(database, image.id).embedding
    assert found is not None
    assert np.array_equal(found.values, numbers)


def test_an_image_without_one_is_found_without(database: Database) -> None:
    image = rows.insert(database)
    assert find(database, image.id) == Embedded(rows.find(database, image.id), None)
    with database.statement() as cursor:
        assert embeddings.find(cursor, image.id + 1) is None


def test_a_result_of_an_older_dispatcher_keeps_none(database: Database) -> None:
    one, two = rows.insert(database), rows.insert(database)
    with database.transaction() as cursor:
        older = replace(rows.classified(one.id), model_key=None, embedding=None)
        embeddings.keep(cursor, [older])
        embeddings.keep(cursor, [older, rows.classified(two.id)])
    assert find(database, one.id).embedding is None
    assert find(database, two.id).embedding is not None


def test_there_is_one_of_an_image(database: Database) -> None:
    image = rows.insert(database)
    kept(database, image.id)
    kept(database, image.id, packed=struct.pack("<2f", 1.0, 0.0))
    found = find(database, image.id).embedding
    assert found is not None
    assert found.values.tolist() == [1.0, 0.0]


def test_it_goes_with_its_image(database: Database) -> None:
    image, other = rows.insert(database), rows.insert(database)
    kept(database, image.id, other.id)
    with database.statement() as cursor:
        images.delete(cursor, image.id)
    assert rows.value(database, COUNT) == 1
