"""Images: one row an upload, terminal rows never change, every row on exactly one page."""

import json
from datetime import timedelta
from typing import Any

import pytest

from contracts.events import ImageClassified, ImageFailed
from gateway import images
from gateway.database import Database
from gateway.images import Image, Selection, Status
from tests.gateway import rows

pytestmark = pytest.mark.integration


def complete(database: Database, *results: ImageClassified) -> list[Image]:
    with database.transaction() as cursor:
        return images.complete(cursor, results)


def fail(database: Database, *failures: ImageFailed) -> list[Image]:
    with database.transaction() as cursor:
        return images.fail(cursor, failures)


def select(database: Database, limit: int = 100, **chosen: Any) -> list[Image]:
    with database.statement() as cursor:
        return images.select(cursor, Selection(**chosen), limit)


def ids(found: list[Image]) -> list[int]:
    return [image.id for image in found]


def test_a_new_image_is_pending_and_unpublished(database: Database) -> None:
    image = rows.insert(database, description="a cat")
    assert image.status is Status.PENDING
    assert (image.classification_result, image.confidence_score, image.failure_reason) == (
        None,
    ) * 3
    assert image.created_at.utcoffset() == timedelta(0)
    assert abs(image.updated_at - image.created_at) < timedelta(seconds=1)
    assert rows.find(database, image.id) == image
    assert rows.value(database, "SELECT published_at FROM images") is None


def test_the_same_upload_again_finds_its_own_row(database: Database) -> None:
    new = rows.new_image()
    with database.statement() as cursor:
        first = images.insert(cursor, new)
        again = images.insert(cursor, new)
    assert again == first
    assert rows.value(database, "SELECT count(*) FROM images") == 1


def test_what_is_not_there_is_none(database: Database) -> None:
    with database.statement() as cursor:
        assert images.find(cursor, 1) is None
        assert images.find_by_key(cursor, "images/nobody.jpg") is None
        assert images.delete(cursor, 1) is None


def test_an_image_is_found_by_its_key(database: Database) -> None:
    image = rows.insert(database)
    with database.statement() as cursor:
        assert images.find_by_key(cursor, image.s3_key) == image


def test_a_deleted_image_is_gone_and_names_its_object(database: Database) -> None:
    image = rows.insert(database)
    with database.statement() as cursor:
        assert images.delete(cursor, image.id) == image.s3_key
        assert images.find(cursor, image.id) is None


def test_a_result_completes_its_image(database: Database) -> None:
    image = rows.insert(database)
    (done,) = complete(database, rows.classified(image.id, "tabby cat", "tiger cat"))
    assert done.status is Status.COMPLETED
    assert done.confidence_score == 0.75
    assert done.updated_at > image.updated_at
    assert json.loads(done.classification_result or "") == {
        "class": "tabby cat",
        "confidence": 0.75,
        "top5": [
            {"class": "tabby cat", "confidence": 0.75},
            {"class": "tiger cat", "confidence": 0.375},
        ],
        "labelSet": "imagenet-1k",
        "model": "starter",
        "modelVersion": "1",
    }
    assert rows.find(database, image.id) == done


def test_a_failure_says_why(database: Database) -> None:
    image = rows.insert(database)
    (done,) = fail(database, rows.failed(image.id, "It ends too early."))
    assert (done.status, done.failure_reason) == (Status.FAILED, "It ends too early.")
    assert done.classification_result is None


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_a_terminal_row_never_changes(database: Database, status: str) -> None:
    image = rows.insert(database)
    if status == "COMPLETED":
        complete(database, rows.classified(image.id, "first"))
    else:
        fail(database, rows.failed(image.id, "first"))
    before = rows.find(database, image.id)
    assert complete(database, rows.classified(image.id, "second")) == []
    assert fail(database, rows.failed(image.id, "second")) == []
    assert rows.find(database, image.id) == before


def test_duplicates_in_one_batch_complete_a_row_once(database: Database) -> None:
    one, two = rows.insert(database), rows.insert(database)
    done = complete(database, *(rows.classified(each) for each in (one.id, two.id, one.id, one.id)))
    assert sorted(ids(done)) == [one.id, two.id]


def test_results_of_images_that_are_gone_change_nothing(database: Database) -> None:
    image = rows.insert(database)
    done = complete(database, rows.classified(image.id + 1), rows.classified(image.id))
    assert ids(done) == [image.id]


def test_labels_and_failures_are_text_and_nothing_more(database: Database) -> None:
    image = rows.insert(database)
    label = "o'cat'); DROP TABLE images; -- %s \\"
    (done,) = complete(database, rows.classified(image.id, label))
    assert json.loads(done.classification_result or "")["class"] == label


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
def test_every_row_is_on_exactly_one_page(database: Database, limit: int) -> None:
    """While rows come and go: those that were there all the time are seen once each."""
    all_ids = [rows.insert(database).id for _ in range(20)]
    deleted = set(all_ids[::5])
    seen: list[int] = []
    before_id = None
    while page := select(database, limit, before_id=before_id):
        seen += ids(page)
        before_id = page[-1].id
        rows.insert(database)
        if deleted:
            rows.execute(database, "DELETE FROM images WHERE id = %s", deleted.pop())
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, reverse=True)
    assert set(all_ids) - set(all_ids[::5]) <= set(seen)


def test_the_list_is_filtered_by_status_and_time(database: Database) -> None:
    first, second, third = (rows.insert(database) for _ in range(3))
    complete(database, rows.classified(second.id))
    fail(database, rows.failed(third.id))
    assert ids(select(database, status=Status.COMPLETED)) == [second.id]
    assert ids(select(database, status=Status.FAILED)) == [third.id]
    assert ids(select(database, created_after=second.created_at)) == [third.id, second.id]
    assert ids(select(database, created_before=second.created_at)) == [first.id]
    between = select(
        database,
        status=Status.PENDING,
        created_after=first.created_at,
        created_before=third.created_at,
    )
    assert ids(between) == [first.id]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("beach", ["beach"]),
        ("BEACHES", ["beach"]),
        ("dog beach", ["beach"]),
        ("dog", ["beach", "labelled"]),
        ("dog -beach", ["labelled"]),
        ('"retriever dog"', []),
        ("golden or city", ["city", "labelled"]),
        ("terrier", ["labelled"]),
        ("nothing", []),
        ("'; DROP TABLE images; --", []),
        ("& | ! ( :*", []),
    ],
)
def test_words_of_descriptions_and_labels_are_found(
    database: Database, q: str, found: list[str]
) -> None:
    named = {
        rows.insert(database, description="Our dog at the beach").id: "beach",
        rows.insert(database, description="A city at night").id: "city",
        rows.insert(database).id: "labelled",
    }
    labelled = max(named)
    complete(database, rows.classified(labelled, "golden retriever", "terrier dog"))
    assert sorted(named[image.id] for image in select(database, q=q)) == found


def test_statuses_know_which_are_terminal() -> None:
    assert {status for status in Status if status.terminal} == {Status.COMPLETED, Status.FAILED}


@pytest.mark.parametrize("status", ["PENDING", "PROCESSING", "FAILED"])
def test_only_what_has_labels_gets_other_ones(database: Database, status: str) -> None:
    image_id = rows.insert(database).id
    rows.execute(database, "UPDATE images SET status = %s::image_status", status)
    before = rows.find(database, image_id)
    with database.statement() as cursor:
        assert images.relabel(cursor, rows.classified(image_id), "label-sets/other.npz") is None
    assert rows.find(database, image_id) == before


def test_a_change_is_later_than_what_it_changes_whatever_the_clock_says(
    database: Database,
) -> None:
    """In the milliseconds that readers see, by which the cache knows the newer of two."""
    image_id = rows.insert(database).id
    with database.transaction() as cursor:
        images.complete(cursor, [rows.classified(image_id)])
    rows.execute(database, "UPDATE images SET updated_at = updated_at + interval '1 hour'")
    for label in ("one", "two", "three"):
        before = rows.find(database, image_id).updated_at
        with database.statement() as cursor:
            changed = images.relabel(cursor, rows.classified(image_id, label), "label-sets/l.npz")
        assert changed is not None
        assert (changed.updated_at - before).total_seconds() >= 0.001
