"""Reclassification: other labels for a stored embedding, and no older labels after newer ones."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.objects import label_set_key
from gateway import cache as cache_module
from gateway import embeddings, images
from gateway.cache import Cache
from gateway.database import Database
from gateway.images import Status
from gateway.labels.matrices import MatrixCache
from gateway.lookup import Lookup
from gateway.problems import Conflict, NotFound
from gateway.reclassification import Reclassification, Scorable
from gateway.registry import ActiveModel, Manifests, register
from gateway.writer import Writer
from runtime.errors import Unavailable
from runtime.objects import ObjectStore
from tests.gateway import fakes, rows
from tests.gateway.test_registry import exported
from zero_shot import label_set, scoring
from zero_shot.label_set import LabelSet

pytestmark = pytest.mark.integration

BASE = "http://cdn/images"
DIM = 384
KEPT_BYTES = 100_000
LOGIT_SCALE = 100.0  # of the registered model
PETS = ("cat", "dog", "hamster")


def directions(count: int) -> np.ndarray:
    found = np.random.default_rng(7).normal(size=(count, DIM)).astype(np.float32)
    unit: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


PICTURE = directions(4)[3] * 0.6 + directions(4)[1] * 0.8
PICTURE /= np.linalg.norm(PICTURE)


def stored(objects: ObjectStore, *labels: str) -> str:
    data = label_set.encode(labels, directions(len(labels)))
    key = label_set_key(data)
    objects.put(key, data)
    return key


@pytest.fixture
def model(database: Database, objects: ObjectStore, tmp_path: Path) -> ActiveModel:
    data = label_set.encode(("first", "second"), directions(2))
    return register(database, objects, exported(tmp_path / "m", labels=data))


@pytest.fixture
def again(database: Database, objects: ObjectStore, cache: Cache) -> Reclassification:
    kept = MatrixCache(objects, KEPT_BYTES)
    return Reclassification(database, cache, Manifests(objects), kept, BASE)


@pytest.fixture
def image_id(database: Database, model: ActiveModel) -> int:
    """COMPLETED, with its embedding."""
    image_id = rows.insert(database).id
    packed = PICTURE.astype("<f4").tobytes()
    result = replace(rows.classified(image_id), model_key=model.manifest_key, embedding=packed)
    with database.transaction() as cursor:
        images.complete(cursor, [result])
        embeddings.keep(cursor, [result])
    return image_id


@pytest.fixture
def scorable(again: Reclassification, image_id: int) -> Scorable:
    return again.scorable(image_id)


def pets(scorable: Scorable, objects: ObjectStore) -> ActiveModel:
    return replace(scorable.model, label_set="pets", label_set_key=stored(objects, *PETS))


def result_of(resource: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.loads(resource)["classificationResult"])
    return found


def classes(resource: bytes) -> list[str]:
    return [each["class"] for each in result_of(resource)["top5"]]


def test_the_labels_are_those_that_scoring_gives(
    again: Reclassification, scorable: Scorable, objects: ObjectStore
) -> None:
    resource = again.classify(scorable, pets(scorable, objects), 5)
    expected = scoring.top_k(PICTURE, LabelSet(PETS, directions(3)), LOGIT_SCALE, 5)
    assert [each["class"] for each in result_of(resource)["top5"]] == [s.label for s in expected]
    assert [each["confidence"] for each in result_of(resource)["top5"]] == pytest.approx(
        [score.confidence for score in expected], abs=1e-6
    )
    assert result_of(resource)["class"] == "dog"


def test_the_row_the_search_and_the_cache_have_the_new_labels(
    database: Database,
    cache: Cache,
    again: Reclassification,
    scorable: Scorable,
    objects: ObjectStore,
) -> None:
    answering = pets(scorable, objects)
    before = scorable.image
    resource = again.classify(scorable, answering, 5)
    image = rows.find(database, before.id)
    assert image.status is Status.COMPLETED
    assert image.updated_at > before.updated_at
    assert image.created_at == before.created_at
    assert Lookup(database, cache, BASE).get(before.id) == resource
    cached = cache.get(before.id)
    assert cached is not None
    assert cached.resource == resource
    with database.statement() as cursor:
        for words, is_found in (("dog", True), ("hamster", True), ("tabby", False)):
            found = images.select(cursor, images.Selection(q=words), 10)
            assert bool(found) is is_found, words
    kept = "SELECT model_key, label_set, label_set_key FROM images"
    with database.statement() as cursor:
        cursor.execute(kept)
        assert cursor.fetchone() == (answering.manifest_key, "pets", answering.label_set_key)


def test_a_preview_changes_nothing(
    database: Database,
    cache: Cache,
    again: Reclassification,
    scorable: Scorable,
    objects: ObjectStore,
) -> None:
    resource = again.preview(scorable, pets(scorable, objects), 2)
    assert classes(resource) == ["dog", "cat"] or len(classes(resource)) == 2
    assert json.loads(resource)["confidenceScore"] == result_of(resource)["confidence"]
    assert rows.find(database, scorable.image.id) == scorable.image
    assert cache.get(scorable.image.id) is None
    shape = Lookup(database, cache, BASE).get(scorable.image.id) or b""
    assert json.loads(resource).keys() == json.loads(shape).keys()


@pytest.mark.parametrize(("k", "count"), [(1, 1), (2, 2), (3, 3), (100, 3)])
def test_there_are_as_many_as_asked_for_and_there_are(
    again: Reclassification, scorable: Scorable, objects: ObjectStore, k: int, count: int
) -> None:
    assert len(classes(again.preview(scorable, pets(scorable, objects), k))) == count


def test_its_own_model_answers_whichever_is_active(
    database: Database,
    again: Reclassification,
    objects: ObjectStore,
    image_id: int,
    model: ActiveModel,
    tmp_path: Path,
) -> None:
    newer = register(database, objects, exported(tmp_path / "new", "2", b"other"))
    scorable = again.scorable(image_id)
    assert scorable.model == model != newer
    result = result_of(again.classify(scorable, scorable.model, 5))
    assert (result["model"], result["modelVersion"], result["labelSet"]) == (
        "starter", "1", "imagenet-1k",
    )  # fmt: skip
    assert [each["class"] for each in result["top5"]] == ["second", "first"]


# What cannot be scored


def test_no_such_image(again: Reclassification) -> None:
    with pytest.raises(NotFound, match="no image 77"):
        again.embedding_of(77)


def test_one_that_is_still_coming_says_when_to_ask_again(
    database: Database, again: Reclassification
) -> None:
    image = rows.insert(database)
    with pytest.raises(Conflict, match="still PENDING") as refusal:
        again.embedding_of(image.id)
    assert int(refusal.value.headers["Retry-After"]) > 0


def test_one_that_failed_says_why(database: Database, again: Reclassification) -> None:
    image = rows.insert(database)
    with database.statement() as cursor:
        images.fail(cursor, [rows.failed(image.id, "It is cut off.")])
    with pytest.raises(Conflict, match=r"It is cut off\.") as refusal:
        again.embedding_of(image.id)
    assert "Retry-After" not in refusal.value.headers


def test_one_of_the_time_before_embeddings(database: Database, again: Reclassification) -> None:
    image = rows.insert(database)
    with database.statement() as cursor:
        images.complete(cursor, [rows.classified(image.id)])
    with pytest.raises(Conflict, match="before embeddings were kept") as refusal:
        again.embedding_of(image.id)
    assert "Retry-After" not in refusal.value.headers


def test_one_that_is_deleted_meanwhile(
    database: Database,
    cache: Cache,
    again: Reclassification,
    scorable: Scorable,
    objects: ObjectStore,
) -> None:
    with database.statement() as cursor:
        images.delete(cursor, scorable.image.id)
    cache.forget(scorable.image.id)
    with pytest.raises(NotFound):
        again.classify(scorable, pets(scorable, objects), 5)
    found = cache.get(scorable.image.id)
    assert found is not None
    assert found.resource is None


@pytest.mark.parametrize("data", [None, b"damaged", label_set.encode(["a"], directions(1)[:, :5])])
def test_a_matrix_that_cannot_be_used_is_the_operators(
    again: Reclassification, scorable: Scorable, objects: ObjectStore, data: bytes | None
) -> None:
    if data is not None:
        objects.put("label-sets/bad.npz", data)
    with pytest.raises(Unavailable):
        again.preview(scorable, replace(scorable.model, label_set_key="label-sets/bad.npz"), 5)


def test_an_unregistered_model_is_the_operators(
    database: Database, again: Reclassification, image_id: int
) -> None:
    rows.execute(database, "DELETE FROM models")
    with pytest.raises(Unavailable, match="not registered"):
        again.scorable(image_id)


def test_a_matrix_is_read_once(
    again: Reclassification, scorable: Scorable, objects: ObjectStore
) -> None:
    answering = pets(scorable, objects)
    first = again.preview(scorable, answering, 5)
    objects.delete(answering.label_set_key)
    assert again.preview(scorable, answering, 5) == first


# Races


def test_a_slow_writer_does_not_bring_the_first_labels_back(
    database: Database,
    cache: Cache,
    again: Reclassification,
    objects: ObjectStore,
    model: ActiveModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It had committed its row, then slept, and only now fills the cache."""
    image = rows.insert(database)
    writer, put = Writer(database, cache, BASE), cache.put_terminal
    result = replace(
        rows.classified(image.id),
        model_key=model.manifest_key,
        embedding=PICTURE.astype("<f4").tobytes(),
    )
    relabelled: list[bytes] = []

    def slow_put(resources: dict[int, bytes]) -> None:
        monkeypatch.setattr(cache, "put_terminal", put)
        scorable = again.scorable(image.id)
        relabelled.append(again.classify(scorable, pets(scorable, objects), 5))
        put(resources)

    monkeypatch.setattr(cache, "put_terminal", slow_put)
    record = fakes.Record("image-classification-results", result.to_json())
    writer.write([record])
    assert Lookup(database, cache, BASE).get(image.id) == relabelled[0]
    assert writer.write([record]) == [], "nor does a duplicate"
    assert Lookup(database, cache, BASE).get(image.id) == relabelled[0]


def test_a_slow_reader_does_not_bring_the_old_labels_back(
    database: Database,
    cache: Cache,
    again: Reclassification,
    scorable: Scorable,
    objects: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It read the row, slept, and only now fills the cache."""
    fill = cache.fill
    relabelled: list[bytes] = []

    def slow_fill(image_id: int, resource: bytes, *, terminal: bool) -> None:
        relabelled.append(again.classify(scorable, pets(scorable, objects), 5))
        fill(image_id, resource, terminal=terminal)

    monkeypatch.setattr(cache, "fill", slow_fill)
    lookup = Lookup(database, cache, BASE)
    assert lookup.get(scorable.image.id) != relabelled[0]
    assert lookup.get(scorable.image.id) == relabelled[0]


def test_of_many_at_once_row_and_cache_keep_the_same(
    database: Database,
    cache: Cache,
    again: Reclassification,
    scorable: Scorable,
    objects: ObjectStore,
) -> None:
    """Goes red where the cache keeps whichever came last."""
    choices = [
        replace(scorable.model, label_set=f"s{n}", label_set_key=stored(objects, f"a{n}", f"b{n}"))
        for n in range(8)
    ]

    def relabel(answering: ActiveModel) -> None:
        for _ in range(10):
            again.classify(scorable, answering, 5)

    threads = [threading.Thread(target=relabel, args=(choice,)) for choice in choices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    cached = cache.get(scorable.image.id)
    assert cached is not None
    cache.drop([scorable.image.id])
    assert Lookup(database, cache, BASE).get(scorable.image.id) == cached.resource


def test_without_redis_it_is_done_all_the_same(
    database: Database, objects: ObjectStore, scorable: Scorable
) -> None:
    away = cache_module.connect("redis://127.0.0.1:1/0", 0.1)
    kept = MatrixCache(objects, KEPT_BYTES)
    without = Reclassification(database, away, Manifests(objects), kept, BASE)
    resource = without.classify(scorable, pets(scorable, objects), 5)
    assert Lookup(database, away, BASE).get(scorable.image.id) == resource
