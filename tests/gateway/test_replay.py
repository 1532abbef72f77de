"""Replay: failed images that were chosen wait for the relay again, and no others do."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from gateway import bootstrap, images, outbox, replay
from gateway import cache as cache_module
from gateway.__main__ import _moment, main
from gateway.cache import Cache, Found
from gateway.database import Database
from gateway.images import Status
from gateway.notifications import SUBMITTED, Listener
from gateway.replay import Choice, Replay
from gateway.settings import GatewaySettings
from runtime.kafka import Ack
from runtime.lifecycle import Lifecycle
from tests.gateway import rows
from tests.gateway.waits import until

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


@pytest.fixture
def replaying(database: Database, cache: Cache) -> Replay:
    return Replay(database, cache)


def failed_image(
    database: Database, reason: str = "undecodable_image", at: datetime | None = None
) -> int:
    image_id = rows.insert(database).id
    with database.transaction() as cursor:
        images.fail(cursor, [rows.failed(image_id, reason=reason)])
        if at:
            cursor.execute("UPDATE images SET updated_at = %s WHERE id = %s", (at, image_id))
    return image_id


def claimed(database: Database) -> list[int]:
    """What a relay would publish now."""
    with database.transaction() as cursor:
        return [row.id for row in outbox.claim(cursor, 100)]


@pytest.mark.integration
def test_a_failed_image_is_as_if_it_had_just_been_uploaded(
    database: Database, replaying: Replay
) -> None:
    image_id = rows.insert(database).id
    with database.transaction() as cursor:
        outbox.mark_published(cursor, [(image_id, Ack(0, 1))])
        images.fail(cursor, [rows.failed(image_id)])
    assert claimed(database) == []
    assert list(replaying.run(Choice())) == [1]
    image = rows.find(database, image_id)
    assert (image.status, image.failure_reason) == (Status.PENDING, None)
    assert claimed(database) == [image_id]
    left = "SELECT failure_code IS NULL AND publish_attempts = 0 FROM images"
    assert rows.value(database, left)


@pytest.mark.integration
@pytest.mark.parametrize("active", [None, rows.MODEL_KEY, "models/new.json"])
def test_the_model_that_is_active_now_is_asked(
    database: Database, replaying: Replay, active: str | None
) -> None:
    """Not at once: the row first finds its labels for that model."""
    if active:
        rows.activate(database, active)
    image_id = failed_image(database)
    assert list(replaying.run(Choice())) == [1]
    is_other = active == "models/new.json"
    assert rows.value(database, "SELECT awaits_model FROM images") is is_other
    assert claimed(database) == ([] if is_other else [image_id])


@pytest.mark.integration
def test_its_next_answer_counts(database: Database, replaying: Replay) -> None:
    one, two = failed_image(database), failed_image(database)
    assert list(replaying.run(Choice())) == [2]
    with database.transaction() as cursor:
        images.complete(cursor, [rows.classified(one)])
        images.fail(cursor, [rows.failed(two, "Still not.", "other_reason")])
    assert rows.find(database, one).status is Status.COMPLETED
    assert rows.find(database, two).failure_reason == "Still not."
    assert replaying.count(Choice()) == {"other_reason": 1}


@pytest.mark.integration
@pytest.mark.parametrize("status", ["PENDING", "PROCESSING", "COMPLETED"])
def test_whatever_did_not_fail_is_untouched(
    database: Database, replaying: Replay, status: str
) -> None:
    image_id = rows.insert(database).id
    rows.execute(database, "UPDATE images SET status = %s::image_status", status)
    before = rows.find(database, image_id)
    for choice in (Choice(), Choice(ids=[image_id])):
        assert replaying.count(choice) == {}
        assert list(replaying.run(choice)) == []
    assert rows.find(database, image_id) == before


Chosen = Callable[[list[int]], Choice]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("choose", "expected"),
    [
        (lambda _: Choice(), {0, 1, 2}),
        (lambda ids: Choice(ids=ids[:2]), {0, 1}),
        (lambda _: Choice(ids=[]), set()),
        (lambda _: Choice(ids=[2**63 - 1]), set()),
        (lambda _: Choice(reason="missing"), {1, 2}),
        (lambda _: Choice(reason="miss"), set()),
        (lambda _: Choice(since=NOON), {1, 2}),
        (lambda _: Choice(until=NOON), {0}),
        (lambda _: Choice(since=NOON, until=NOON + HOUR), {1}),
        (lambda _: Choice(since=NOON + HOUR * 2), set()),
        (lambda ids: Choice(ids=ids[:2], reason="missing", since=NOON), {1}),
    ],
)
def test_exactly_the_chosen_are_counted_and_replayed(
    database: Database, replaying: Replay, choose: Chosen, expected: set[int]
) -> None:
    ids = [
        failed_image(database, "broken", NOON - HOUR),
        failed_image(database, "missing", NOON),
        failed_image(database, "missing", NOON + HOUR),
    ]
    choice = choose(ids)
    assert sum(replaying.count(choice).values()) == len(expected)
    assert claimed(database) == []  # to count them changes nothing
    assert list(replaying.run(choice)) == ([len(expected)] if expected else [])
    assert claimed(database) == [ids[number] for number in sorted(expected)]


@pytest.mark.integration
def test_they_are_counted_by_reason(database: Database, replaying: Replay) -> None:
    for reason in ("broken", "missing", "missing"):
        failed_image(database, reason)
    assert replaying.count(Choice()) == {"broken": 1, "missing": 2}


@pytest.mark.integration
def test_batches_tell_how_far_it_is_and_wake_the_relay(
    database: Database, replaying: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH", 2)
    ids = [failed_image(database) for _ in range(5)]
    listener = Listener(database, SUBMITTED)
    listener.wait(0)
    progress = replaying.run(Choice())
    assert next(progress) == 2
    assert claimed(database) == ids[:2]  # the first are on their way while others are to come
    assert until(lambda: listener.wait(1))
    assert list(progress) == [4, 5]
    assert claimed(database) == ids
    listener.close()


@pytest.mark.integration
def test_what_fails_again_meanwhile_is_not_taken_twice(
    database: Database, replaying: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red where a hopeless image would be sent round and round."""
    monkeypatch.setattr(replay, "BATCH", 1)
    ids = [failed_image(database) for _ in range(3)]
    replayed = []
    for count in replaying.run(Choice()):
        replayed.append(count)
        with database.transaction() as cursor:
            images.fail(cursor, [rows.failed(each) for each in ids[:count]])
    assert replayed == [1, 2, 3]


@pytest.mark.integration
def test_what_the_cache_says_of_it_is_dropped_and_nothing_else(
    database: Database, cache: Cache, replaying: Replay
) -> None:
    chosen, other = failed_image(database), failed_image(database)
    cache.put_terminal({chosen: b"failed", other: b"failed"})
    assert list(replaying.run(Choice(ids=[chosen]))) == [1]
    assert cache.get(chosen) is None
    assert cache.get(other) == Found(b"failed")


@pytest.mark.integration
def test_without_redis_it_is_replayed_all_the_same(database: Database) -> None:
    failed_image(database)
    without = Replay(database, cache_module.connect("redis://127.0.0.1:1/0", 0.1))
    assert list(without.run(Choice())) == [1]


# The command


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(
        database_url=database_url,
        redis_url=redis_url,
        kafka_bootstrap_servers="127.0.0.1:1",
        object_store_url=tmp_path.as_uri(),
        triton_grpc_address="127.0.0.1:1",
    )


@pytest.mark.integration
def test_a_dry_run_says_what_would_be_and_changes_nothing(
    database: Database, settings: GatewaySettings
) -> None:
    for reason in ("broken", "missing", "missing"):
        failed_image(database, reason)
    said: list[str] = []
    bootstrap.run_replay(settings, Lifecycle(), Choice(), said.append, dry_run=True)
    assert [line.split() for line in said] == [
        ["1", "broken"], ["2", "missing"], ["3", "would", "be", "replayed"],
    ]  # fmt: skip
    assert claimed(database) == []


@pytest.mark.integration
def test_it_says_how_far_it_is_and_stops_when_told(
    database: Database, settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH", 1)
    ids = [failed_image(database) for _ in range(3)]
    lifecycle, said = Lifecycle(), list[str]()

    def say(line: str) -> None:
        said.append(line)
        if line.split() == ["2", "replayed"]:
            lifecycle.stop()

    bootstrap.run_replay(settings, lifecycle, Choice(), say, dry_run=False)
    assert [line.split() for line in said] == [
        ["3", "undecodable_image"], ["3", "to", "be", "replayed"],
        ["1", "replayed"], ["2", "replayed"],
    ]  # fmt: skip
    assert claimed(database) == ids[:2]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--dry-run"], ["--id", "one"], ["--all", "--since", "yesterday"], ["--reason"]],
)
def test_without_a_clear_choice_nothing_is_done(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["replay", *arguments])
    assert caught.value.code == 2
    assert "usage: python -m gateway" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T12:00",
        "2026-01-01T12:00:00Z",
        "2026-01-01 12:00+00:00",
        "2026-01-01T14:00+02:00",
    ],
)
def test_a_moment_is_utc_unless_it_says_otherwise(text: str) -> None:
    assert _moment(text) == NOON
