"""Sweeper: what may still be answered is left alone, what Kafka no longer holds is sent again."""

import threading

import pytest

from contracts.topics import CLASSIFICATION_RESULTS, PROCESSING_ERRORS
from gateway import images, outbox, sweeper
from gateway.backlog import Positions
from gateway.database import Database
from gateway.images import Status
from gateway.outbox import Deadlines, Overdue, Waiting
from gateway.sweeper import Suspects, Sweeper
from runtime.errors import Unavailable
from runtime.kafka import Ack
from runtime.lifecycle import Lifecycle, Pulse
from tests.gateway import fakes, rows
from tests.gateway.waits import until

DEADLINES = Deadlines(first_s=10, cap_s=40)
RESULTS, ERRORS = (CLASSIFICATION_RESULTS, 0), (PROCESSING_ERRORS, 0)


def answers(read: int, end: int, *waiting: Waiting) -> Positions:
    """How far the writers have read the only partition of results, and what waits before it."""
    return Positions(waiting, {RESULTS: read}, {RESULTS: end})


NOTHING_LEFT = answers(0, 0)


@pytest.mark.parametrize(
    ("read", "end", "are_convicted"),
    [
        (99, 100, False),  # the next to be read may be the answer
        (99, 200, False),
        (100, 100, True),
        (100, 200, True),  # what came later is not waited for
        (150, 200, True),
        (0, 99, True),  # a shorter log lost the answer
        (0, 0, True),
    ],
)
def test_suspects_are_convicted_once_their_last_possible_answer_was_read(
    read: int, end: int, are_convicted: bool
) -> None:
    suspects = Suspects([Overdue(1, 0, 0)], {RESULTS: 100})
    assert suspects.are_convicted(answers(read, end)) is are_convicted


@pytest.mark.parametrize(
    ("results_read", "errors_read", "are_convicted"),
    [(5, 7, True), (4, 7, False), (5, 6, False), (4, 6, False)],
)
def test_every_log_of_answers_counts(
    results_read: int, errors_read: int, are_convicted: bool
) -> None:
    suspects = Suspects([], {RESULTS: 5, ERRORS: 7})
    positions = Positions((), {RESULTS: results_read, ERRORS: errors_read}, {RESULTS: 9, ERRORS: 9})
    assert suspects.are_convicted(positions) is are_convicted


def test_a_log_that_is_gone_is_not_waited_for() -> None:
    assert Suspects([], {RESULTS: 1}).are_convicted(Positions((), {}, {}))


def sweeper_over(database: Database, backlog: fakes.KnownBacklog) -> Sweeper:
    return Sweeper(database, backlog, DEADLINES)  # type: ignore[arg-type]


def overdue_image(database: Database, offset: int = 3, ago_s: float = 60) -> int:
    image = rows.insert(database)
    publish(database, image.id, offset, ago_s)
    return image.id


def publish(database: Database, image_id: int, offset: int, ago_s: float) -> None:
    with database.transaction() as cursor:
        outbox.mark_published(cursor, [(image_id, Ack(0, offset))])
        cursor.execute(
            "UPDATE images SET published_at = clock_timestamp() - make_interval(secs => %s)"
            " WHERE id = %s",
            (ago_s, image_id),
        )


def waits_for_the_relay(database: Database, image_id: int) -> bool:
    published_at = "SELECT published_at IS NULL FROM images WHERE id = %s"
    return bool(rows.value(database, published_at, image_id))


@pytest.mark.integration
def test_a_lost_event_goes_back_to_the_outbox(database: Database) -> None:
    lost = overdue_image(database)
    fresh = rows.insert(database)
    assert sweeper_over(database, fakes.KnownBacklog(NOTHING_LEFT)).sweep() == 1
    assert waits_for_the_relay(database, lost)
    assert rows.find(database, lost).status is Status.PROCESSING
    assert rows.find(database, fresh.id) == fresh


@pytest.mark.integration
def test_a_waiting_event_is_left_alone(database: Database) -> None:
    image_id = overdue_image(database)
    waiting = sweeper_over(database, fakes.KnownBacklog(answers(0, 0, Waiting(0, 3, 4))))
    assert [waiting.sweep() for _ in range(3)] == [0, 0, 0]
    assert not waits_for_the_relay(database, image_id)


@pytest.mark.integration
def test_a_lost_event_is_found_where_some_results_are_always_unread(database: Database) -> None:
    """Goes red where a sweep waits for a moment without unread results, which a busy day lacks."""
    lost = overdue_image(database)
    backlog = fakes.KnownBacklog(answers(90, 100))
    busy = sweeper_over(database, backlog)
    assert busy.sweep() == 0
    backlog.known = answers(99, 180)
    assert busy.sweep() == 0
    backlog.known = answers(100, 190)
    assert busy.sweep() == 1
    assert waits_for_the_relay(database, lost)


@pytest.mark.integration
def test_what_was_answered_between_suspicion_and_conviction_is_not_sent_again(
    database: Database,
) -> None:
    late, lost = overdue_image(database), overdue_image(database)
    backlog = fakes.KnownBacklog(answers(0, 1))
    suspicious = sweeper_over(database, backlog)
    assert suspicious.sweep() == 0
    with database.transaction() as cursor:
        images.complete(cursor, [rows.classified(late)])
    backlog.known = answers(1, 1)
    assert suspicious.sweep() == 1
    assert not waits_for_the_relay(database, late)
    assert rows.find(database, late).status is Status.COMPLETED
    assert waits_for_the_relay(database, lost)


@pytest.mark.integration
@pytest.mark.parametrize("ago_s", [0, 60])
def test_what_was_sent_again_meanwhile_is_not_sent_a_third_time(
    database: Database, ago_s: float
) -> None:
    """As another relay may have done, whose event is the one that counts now."""
    image_id = overdue_image(database, offset=3)
    other = overdue_image(database, offset=5)
    backlog = fakes.KnownBacklog(answers(0, 1))
    suspicious = sweeper_over(database, backlog)
    assert suspicious.sweep() == 0
    publish(database, image_id, offset=4, ago_s=ago_s)
    backlog.known = answers(1, 1, Waiting(0, 4, 5))
    assert suspicious.sweep() == 1
    assert not waits_for_the_relay(database, image_id)
    assert waits_for_the_relay(database, other)


@pytest.mark.integration
def test_who_became_overdue_later_is_no_part_of_an_older_suspicion(database: Database) -> None:
    """Its answer may lie behind the end that was noted for the others."""
    first = overdue_image(database)
    backlog = fakes.KnownBacklog(answers(0, 1))
    suspicious = sweeper_over(database, backlog)
    assert suspicious.sweep() == 0
    second = overdue_image(database, offset=9)
    backlog.known = answers(1, 2)
    assert suspicious.sweep() == 1
    assert waits_for_the_relay(database, first)
    assert not waits_for_the_relay(database, second)
    assert suspicious.sweep() == 0
    backlog.known = answers(2, 2)
    assert suspicious.sweep() == 1
    assert waits_for_the_relay(database, second)


@pytest.mark.integration
def test_more_waiting_events_than_a_sweep_takes_do_not_hide_a_lost_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red where the limit is applied before the waiting ones are left out."""
    monkeypatch.setattr(sweeper, "SWEEP_LIMIT", 3)
    waiting = [overdue_image(database, offset, ago_s=900) for offset in range(10, 16)]
    lost = overdue_image(database, offset=9, ago_s=60)
    backlog = fakes.KnownBacklog(answers(0, 0, Waiting(0, 10, 16)))
    assert sweeper_over(database, backlog).sweep() == 1
    assert waits_for_the_relay(database, lost)
    assert not any(waits_for_the_relay(database, image_id) for image_id in waiting)


@pytest.mark.integration
def test_more_lost_events_than_a_sweep_takes_are_all_found_in_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_LIMIT", 2)
    for offset in range(5):
        overdue_image(database, offset)
    sweeping = sweeper_over(database, fakes.KnownBacklog(NOTHING_LEFT))
    assert [sweeping.sweep() for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.integration
def test_a_restarted_relay_suspects_anew(database: Database) -> None:
    lost = overdue_image(database)
    backlog = fakes.KnownBacklog(answers(0, 1))
    assert sweeper_over(database, backlog).sweep() == 0
    restarted = sweeper_over(database, backlog)
    assert restarted.sweep() == 0
    backlog.known = answers(1, 5)
    assert restarted.sweep() == 1
    assert waits_for_the_relay(database, lost)


@pytest.mark.integration
def test_a_silent_kafka_postpones(database: Database) -> None:
    image_id = overdue_image(database)
    backlog = fakes.KnownBacklog(Unavailable("no broker"))
    sweeping = sweeper_over(database, backlog)
    with pytest.raises(Unavailable):
        sweeping.sweep()
    assert not waits_for_the_relay(database, image_id)
    backlog.known = NOTHING_LEFT
    assert sweeping.sweep() == 1


@pytest.mark.integration
def test_kafka_is_not_asked_where_nothing_is_overdue(database: Database) -> None:
    rows.insert(database)
    assert sweeper_over(database, fakes.KnownBacklog(ZeroDivisionError("asked"))).sweep() == 0


def test_without_postgres_the_caller_is_told() -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", pool_size=1, timeout_s=1)
    with pytest.raises(Unavailable):
        sweeper_over(nowhere, fakes.KnownBacklog(NOTHING_LEFT)).sweep()


@pytest.mark.integration
@pytest.mark.parametrize("fault", [Unavailable("no broker"), ZeroDivisionError("a fault of ours")])
def test_its_loop_outlives_what_it_meets(database: Database, fault: Exception) -> None:
    image_id = overdue_image(database)
    backlog, lifecycle = fakes.KnownBacklog(fault), Lifecycle()
    beats: list[float] = []

    def clock_s() -> float:
        beats.append(0)
        return 0

    thread = threading.Thread(
        target=sweeper_over(database, backlog).run, args=(lifecycle, Pulse(clock_s), 0.01)
    )
    thread.start()
    until(lambda: len(beats) > 3)
    assert not waits_for_the_relay(database, image_id)
    backlog.known = NOTHING_LEFT
    until(lambda: waits_for_the_relay(database, image_id))
    lifecycle.stop()
    thread.join(timeout=5)
    assert not thread.is_alive()
