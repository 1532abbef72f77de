"""Artefacts are fetched and parsed once; what cannot be used is waited for, and not kept."""

from pathlib import Path

import pytest

from runtime.artefacts import ArtefactCache, BadArtefact
from runtime.errors import ObjectNotFound, Unavailable
from runtime.objects import ObjectStore


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path.as_uri())


@pytest.fixture
def numbers(objects: ObjectStore) -> ArtefactCache[list[int]]:
    return ArtefactCache(objects, lambda data: [int(data)], limit=2)


def test_each_is_fetched_once_while_it_is_in_use(
    objects: ObjectStore, numbers: ArtefactCache[list[int]]
) -> None:
    for key in "abc":
        objects.put(key, b"7")
    seven = numbers.get("a")
    objects.delete("a")
    assert numbers.get("a") is seven == [7]
    numbers.get("b")
    numbers.get("c")
    with pytest.raises(BadArtefact):
        numbers.get("a")


def test_their_weight_is_what_is_bounded(objects: ObjectStore) -> None:
    kept = ArtefactCache(objects, lambda data: data, 4, len)
    for key, data in {"a": b"123", "b": b"12"}.items():
        objects.put(key, data)
        kept.get(key)
        objects.delete(key)
    assert kept.get("b") == b"12"
    with pytest.raises(BadArtefact):
        kept.get("a")


def test_what_is_missing_or_damaged_may_be_mended(
    objects: ObjectStore, numbers: ArtefactCache[list[int]]
) -> None:
    with pytest.raises(BadArtefact, match="a cannot be used") as caught:
        numbers.get("a")
    assert isinstance(caught.value.__cause__, ObjectNotFound)
    objects.put("a", b"seven")
    with pytest.raises(BadArtefact, match="a cannot be used: invalid literal"):
        numbers.get("a")
    objects.put("a", b"7")
    assert numbers.get("a") == [7]


def test_a_store_that_is_away_is_no_bad_artefact() -> None:
    class Away(ObjectStore):
        def __init__(self) -> None:
            pass

        def get(self, key: str) -> bytes:
            raise Unavailable(f"away: {key}")

    with pytest.raises(Unavailable, match="away: a") as caught:
        ArtefactCache(Away(), int, 1).get("a")
    assert not isinstance(caught.value, BadArtefact)
