"""Sweeper: what still waits is left alone, what Kafka no longer holds is sent again."""

import pytest

from gateway.backlog import Positions
from gateway.database import Database
from gateway.images import Status
from gateway.outbox import Overdue
from gateway.sweeper import Deadlines, Sweeper, unanswerable
from runtime.errors import Unavailable
from tests.gateway import fakes, rows

DEADLINES = Deadlines(first_s=10, cap_s=40, interval_s=60)
NOTHING_LEFT = Positions({}, {}, results_unread=0)


@pytest.mark.parametrize(
    ("committed", "end", "offset", "is_given_up"),
    [
        (0, 10, 0, False),  # the next to be read
        (0, 10, 9, False),  # the last of the log
        (5, 10, 5, False),
        (5, 10, 4, True),  # read and answered for, but no answer came
        (10, 10, 9, True),
        (0, 0, 0, True),  # an empty log: the broker lost it
        (0, 5, 5, True),  # beyond the end: the log is a new one
        (7, 5, 6, True),
    ],
)
def test_an_event_waits_between_the_committed_offset_and_the_end(
    committed: int, end: int, offset: int, is_given_up: bool
) -> None:
    positions = Positions({2: committed}, {2: end}, results_unread=0)
    given_up = unanswerable([Overdue(1, 2, offset)], positions)
    assert given_up == ([1] if is_given_up else [])


def test_an_event_on_a_partition_that_is_gone_brings_no_answer() -> None:
    assert unanswerable([Overdue(1, 5, 0)], Positions({0: 0}, {0: 9}, 0)) == [1]


@pytest.mark.parametrize(("unread", "given_up"), [(0, [1]), (1, []), (500, [])])
def test_while_results_are_unread_none_is_given_up(unread: int, given_up: list[int]) -> None:
    assert unanswerable([Overdue(1, 0, 0)], Positions({0: 5}, {0: 5}, unread)) == given_up


def test_each_is_judged_by_its_own_partition() -> None:
    overdue = [Overdue(1, 0, 4), Overdue(2, 1, 4), Overdue(3, 0, 6)]
    assert unanswerable(overdue, Positions({0: 5, 1: 0}, {0: 7, 1: 7}, 0)) == [1]


def sweeper_with(
    database: Database, known: Positions | Exception, deadlines: Deadlines = DEADLINES
) -> Sweeper:
    return Sweeper(database, fakes.KnownBacklog(known), deadlines)  # type: ignore[arg-type]


def overdue_image(database: Database) -> int:
    image = rows.insert(database)
    rows.execute(
        database,
        "UPDATE images SET status = 'PROCESSING', published_at = now() - interval '60 s',"
        " publish_attempts = 1, kafka_partition = 0, kafka_offset = 3 WHERE id = %s",
        image.id,
    )
    return image.id


def waits_for_the_relay(database: Database, image_id: int) -> bool:
    published_at = "SELECT published_at IS NULL FROM images WHERE id = %s"
    return bool(rows.value(database, published_at, image_id))


@pytest.mark.integration
def test_a_lost_event_goes_back_to_the_outbox(database: Database) -> None:
    lost = overdue_image(database)
    fresh = rows.insert(database)
    assert sweeper_with(database, NOTHING_LEFT).sweep() == 1
    assert waits_for_the_relay(database, lost)
    assert rows.find(database, lost).status is Status.PROCESSING
    assert rows.find(database, fresh.id) == fresh


@pytest.mark.integration
def test_a_waiting_event_is_left_alone(database: Database) -> None:
    image_id = overdue_image(database)
    assert sweeper_with(database, Positions({0: 3}, {0: 4}, 0)).sweep() == 0
    assert not waits_for_the_relay(database, image_id)


@pytest.mark.integration
def test_a_silent_kafka_postpones(database: Database) -> None:
    image_id = overdue_image(database)
    assert sweeper_with(database, Unavailable("no broker")).sweep() == 0
    assert not waits_for_the_relay(database, image_id)


@pytest.mark.integration
def test_kafka_is_not_asked_where_nothing_is_overdue(database: Database) -> None:
    rows.insert(database)
    assert sweeper_with(database, ZeroDivisionError("asked")).sweep() == 0


@pytest.mark.integration
def test_it_sweeps_no_more_often_than_its_interval(database: Database) -> None:
    image_id = overdue_image(database)
    rare = sweeper_with(database, NOTHING_LEFT)
    rare.sweep_if_due()
    assert not waits_for_the_relay(database, image_id)
    often = sweeper_with(database, NOTHING_LEFT, Deadlines(10, 40, interval_s=0))
    often.sweep_if_due()
    assert waits_for_the_relay(database, image_id)


def test_without_postgres_the_caller_is_told() -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", pool_size=1, timeout_s=1)
    with pytest.raises(Unavailable):
        sweeper_with(nowhere, NOTHING_LEFT).sweep()
