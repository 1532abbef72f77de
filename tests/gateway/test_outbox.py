"""Outbox: rows are claimed by one relay at a time, marked once acknowledged, overdue in time."""

import pytest

from gateway import outbox
from gateway.database import Database
from gateway.images import Status
from gateway.outbox import Deadlines, Overdue, Waiting
from runtime.kafka import Ack
from tests.gateway import rows

pytestmark = pytest.mark.integration

DEADLINES = Deadlines(first_s=10, cap_s=40)


def publish(database: Database, *image_ids: int, ago_s: float = 0, attempts: int = 1) -> None:
    """As a relay did, `ago_s` seconds ago, for the `attempts`th time."""
    with database.transaction() as cursor:
        outbox.mark_published(cursor, [(each, Ack(each % 6, each * 10)) for each in image_ids])
        cursor.execute(
            "UPDATE images SET publish_attempts = %s,"
            " published_at = clock_timestamp() - make_interval(secs => %s) WHERE id = ANY(%s)",
            (attempts, ago_s, list(image_ids)),
        )


def claimed(database: Database, limit: int = 100) -> list[int]:
    with database.transaction() as cursor:
        return [row.id for row in outbox.claim(cursor, limit)]


def overdue(database: Database, *waiting: Waiting, limit: int = 100) -> list[Overdue]:
    with database.transaction() as cursor:
        return outbox.overdue(cursor, DEADLINES, waiting, limit)


def any_overdue(database: Database) -> bool:
    with database.statement() as cursor:
        return outbox.any_overdue(cursor, DEADLINES)


def sent(image_id: int) -> Overdue:
    """As `publish` sent it."""
    return Overdue(image_id, image_id % 6, image_id * 10)


def test_a_claimed_row_holds_what_its_event_needs(database: Database) -> None:
    new = rows.new_image()
    image = rows.insert(database, s3_key=new.s3_key)
    with database.transaction() as cursor:
        (row,) = outbox.claim(cursor, 10)
    assert row == outbox.Unpublished(
        image.id, new.s3_key, "image/jpeg", "models/m.json", "imagenet-1k", "label-sets/l.npz",
        rows.TRACE_ID,
    )  # fmt: skip


def test_the_oldest_come_first(database: Database) -> None:
    inserted = [rows.insert(database).id for _ in range(5)]
    assert claimed(database, limit=3) == inserted[:3]


def test_two_relays_never_hold_the_same_row(database: Database) -> None:
    inserted = [rows.insert(database).id for _ in range(6)]
    with database.transaction() as first, database.transaction() as second:
        ours = [row.id for row in outbox.claim(first, 4)]
        theirs = [row.id for row in outbox.claim(second, 4)]
        assert (ours, theirs) == (inserted[:4], inserted[4:])


def test_what_a_dead_relay_held_is_free_again(database: Database) -> None:
    image = rows.insert(database)
    with pytest.raises(KeyboardInterrupt), database.transaction() as cursor:
        assert outbox.claim(cursor, 1)
        raise KeyboardInterrupt
    assert claimed(database) == [image.id]


def test_a_published_row_is_processing_and_claimed_no_more(database: Database) -> None:
    one, two = rows.insert(database), rows.insert(database)
    publish(database, one.id)
    assert claimed(database) == [two.id]
    assert rows.find(database, one.id).status is Status.PROCESSING
    assert rows.find(database, one.id).updated_at > one.updated_at
    assert rows.value(
        database, "SELECT (kafka_partition, kafka_offset) FROM images WHERE id = %s", one.id
    ) == (f"({one.id % 6},{one.id * 10})")


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_terminal_rows_are_never_claimed_nor_overdue(database: Database, status: str) -> None:
    image = rows.insert(database)
    rows.execute(database, "UPDATE images SET status = %s::image_status", status)
    assert claimed(database) == []
    publish_time = "UPDATE images SET published_at = '2020-01-01', publish_attempts = 1"
    rows.execute(database, publish_time)
    rows.execute(database, "UPDATE images SET kafka_partition = 0, kafka_offset = 0")
    assert overdue(database) == []
    assert not any_overdue(database)
    with database.transaction() as cursor:
        assert outbox.reopen(cursor, [Overdue(image.id, 0, 0)]) == 0


@pytest.mark.parametrize(
    ("attempts", "ago_s", "is_overdue"),
    [
        (1, 9, False),
        (1, 11, True),
        (2, 19, False),
        (2, 21, True),
        (3, 39, False),
        (3, 41, True),
        (4, 39, False),
        (4, 41, True),  # the cap
        (5_000, 41, True),
    ],
)
def test_deadlines_double_up_to_the_cap(
    database: Database, attempts: int, ago_s: float, is_overdue: bool
) -> None:
    image = rows.insert(database)
    publish(database, image.id, ago_s=ago_s, attempts=attempts)
    assert overdue(database) == ([sent(image.id)] if is_overdue else [])
    assert any_overdue(database) is is_overdue


@pytest.mark.parametrize(
    ("waiting", "is_waiting"),
    [
        ([Waiting(2, 0, 10)], False),  # beyond the end: the log is a new one
        ([Waiting(2, 0, 11)], True),
        ([Waiting(2, 10, 11)], True),  # the next to be read
        ([Waiting(2, 11, 20)], False),  # read and answered for, but no answer came
        ([Waiting(2, 10, 10)], False),
        ([Waiting(2, 20, 5)], False),
        ([Waiting(1, 0, 20)], False),  # its own partition is gone
        ([Waiting(1, 11, 20), Waiting(2, 0, 20)], True),
        ([], False),
    ],
)
def test_what_waits_in_the_log_is_overdue_but_not_listed(
    database: Database, waiting: list[Waiting], is_waiting: bool
) -> None:
    image = rows.insert(database)
    with database.transaction() as cursor:
        outbox.mark_published(cursor, [(image.id, Ack(2, 10))])
    rows.execute(database, "UPDATE images SET published_at = '2020-01-01'")
    expected = [] if is_waiting else [Overdue(image.id, 2, 10)]
    assert overdue(database, *waiting) == expected
    assert any_overdue(database)


def test_waiting_events_take_no_place_from_lost_ones(database: Database) -> None:
    inserted = [rows.insert(database).id for _ in range(4)]
    publish(database, *inserted[:3], ago_s=900)
    publish(database, inserted[3], ago_s=60)
    waiting = [Waiting(each % 6, each * 10, each * 10 + 1) for each in inserted[:3]]
    assert overdue(database, *waiting, limit=1) == [sent(inserted[3])]


def test_the_longest_overdue_come_first(database: Database) -> None:
    inserted = [rows.insert(database).id for _ in range(3)]
    for image_id, ago_s in zip(inserted, (50, 90, 70), strict=True):
        publish(database, image_id, ago_s=ago_s)
    assert [row.id for row in overdue(database, limit=2)] == [inserted[1], inserted[2]]


def test_a_reopened_row_is_claimed_again_and_its_attempts_count(database: Database) -> None:
    image = rows.insert(database)
    publish(database, image.id, ago_s=60)
    with database.transaction() as cursor:
        assert outbox.reopen(cursor, [sent(image.id), sent(image.id + 1)]) == 1
    assert claimed(database) == [image.id]
    with database.transaction() as cursor:
        outbox.mark_published(cursor, [(image.id, Ack(0, 1))])
    assert rows.value(database, "SELECT publish_attempts FROM images") == 2


@pytest.mark.parametrize("earlier", [(0, 1), (1, 0)], ids=["offset", "partition"])
def test_only_the_sending_that_was_judged_is_reopened(
    database: Database, earlier: tuple[int, int]
) -> None:
    image = rows.insert(database)
    with database.transaction() as cursor:
        outbox.mark_published(cursor, [(image.id, Ack(0, 0))])
    with database.transaction() as cursor:
        assert outbox.reopen(cursor, [Overdue(image.id, *earlier)]) == 0
        assert outbox.reopen(cursor, [Overdue(image.id, 0, 0)]) == 1
        assert outbox.reopen(cursor, [Overdue(image.id, 0, 0)]) == 0


def test_the_age_is_that_of_the_oldest_unpublished_row(database: Database) -> None:
    def age_s() -> float:
        with database.statement() as cursor:
            return outbox.age_s(cursor)

    assert age_s() == 0
    image = rows.insert(database)
    rows.execute(database, "UPDATE images SET updated_at = clock_timestamp() - interval '9 s'")
    rows.insert(database)
    assert 9 <= age_s() < 12
    publish(database, image.id, ago_s=60)
    assert age_s() < 3
    rows.execute(database, "UPDATE images SET updated_at = '2020-01-01' WHERE id = %s", image.id)
    with database.transaction() as cursor:
        assert outbox.reopen(cursor, [sent(image.id)]) == 1
    assert age_s() < 3  # it has waited for the relay since now, not since its upload


def test_a_row_without_a_model_is_held_back(database: Database) -> None:
    """Neither sent nor overdue nor a sign that the relay hangs, however long it takes."""
    rows.activate(database, "models/new.json")
    waiting, other = rows.insert(database).id, rows.insert(database).id
    publish(database, waiting, ago_s=100)
    with database.statement() as cursor:
        gone = [rows.failed(waiting), rows.failed(waiting), rows.failed(other + 1)]
        assert outbox.await_model(cursor, gone) == 1
    assert claimed(database) == [other]
    assert overdue(database) == []
    rows.execute(database, "UPDATE images SET updated_at = updated_at - interval '1 hour'")
    publish(database, other)
    with database.statement() as cursor:
        assert outbox.age_s(cursor) == 0
    assert rows.find(database, waiting).status is Status.PENDING
    assert rows.value(database, "SELECT publish_attempts FROM images WHERE id = %s", waiting) == 0
