"""Writer: results become terminal rows once, and offsets move only behind what was committed."""

import json
import struct
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from kafka.errors import KafkaError

from contracts.events import MODEL_GONE
from contracts.topics import CLASSIFICATION_RESULTS, PROCESSING_ERRORS, WRITER_GROUP
from gateway import cache as cache_module
from gateway import images
from gateway.cache import Cache, Found
from gateway.database import Database
from gateway.images import Status
from gateway.notifications import TERMINAL, Listener, parse_ids
from gateway.writer import Writer
from runtime import kafka
from runtime.errors import Unavailable
from runtime.lifecycle import Lifecycle, Pulse
from runtime.settings import KafkaSettings
from tests.gateway import fakes, rows
from tests.gateway.backlogs import unread
from tests.gateway.waits import until

pytestmark = pytest.mark.integration

BASE = "http://cdn/images"
RESULTS, ERRORS = CLASSIFICATION_RESULTS, PROCESSING_ERRORS


@pytest.fixture
def writer(database: Database, cache: Cache) -> Writer:
    return Writer(database, cache, BASE)


def record(topic: str, value: bytes | None) -> fakes.Record:
    return fakes.Record(topic, value)


def result(image_id: int) -> fakes.Record:
    return record(RESULTS, rows.classified(image_id).to_json())


def failure(image_id: int) -> fakes.Record:
    return record(ERRORS, rows.failed(image_id, "It is cut off.").to_json())


def test_results_and_failures_become_terminal_rows(
    database: Database, writer: Writer, cache: Cache
) -> None:
    good, bad = rows.insert(database).id, rows.insert(database).id
    done = writer.write([result(good), failure(bad)])
    assert {image.id: image.status for image in done} == {
        good: Status.COMPLETED, bad: Status.FAILED,
    }  # fmt: skip
    assert rows.find(database, bad).failure_reason == "It is cut off."
    for image_id, status in ((good, "COMPLETED"), (bad, "FAILED")):
        found = cache.get(image_id)
        assert found is not None
        assert json.loads(found.resource or b"")["status"] == status


def test_those_who_wait_are_told(database: Database, writer: Writer) -> None:
    listener = Listener(database, TERMINAL)
    listener.wait(0)
    one, two = rows.insert(database).id, rows.insert(database).id
    writer.write([result(one), failure(two), result(two + 1)])
    assert sorted(parse_ids(until(lambda: listener.wait(1)))) == [one, two]
    listener.close()


def test_writing_again_changes_nothing(database: Database, writer: Writer) -> None:
    image = rows.insert(database)
    writer.write([result(image.id)])
    before = rows.find(database, image.id)
    assert writer.write([result(image.id), failure(image.id)]) == []
    assert rows.find(database, image.id) == before


def test_the_first_of_two_verdicts_in_one_poll_stands(database: Database, writer: Writer) -> None:
    image = rows.insert(database)
    done = writer.write([failure(image.id), result(image.id), result(image.id)])
    assert [each.status for each in done] == [Status.COMPLETED]


EMBEDDING = "SELECT embedding FROM image_embeddings WHERE image_id = %s"


def embedding_of(database: Database, image_id: int) -> bytes | None:
    packed = rows.value(database, EMBEDDING, image_id)
    return None if packed is None else bytes(packed)


def test_an_embedding_is_kept_with_the_labels(database: Database, writer: Writer) -> None:
    image = rows.insert(database)
    writer.write([result(image.id)])
    assert embedding_of(database, image.id) == rows.EMBEDDING


def test_labels_and_embedding_are_of_the_same_result(database: Database, writer: Writer) -> None:
    """Two models may have answered an image, in one poll or in two; the first of them stands."""
    image = rows.insert(database)
    first = replace(rows.classified(image.id, "first"), embedding=struct.pack("<f", 1.0))
    second = replace(rows.classified(image.id, "second"), embedding=struct.pack("<f", 2.0))
    for results in ([first, second], [second]):
        writer.write([record(RESULTS, each.to_json()) for each in results])
        assert (
            json.loads(rows.find(database, image.id).classification_result or "")["class"]
            == "first"
        )
        assert embedding_of(database, image.id) == first.embedding


def test_a_result_of_an_older_dispatcher_completes_its_row(
    database: Database, writer: Writer
) -> None:
    old, new = rows.insert(database).id, rows.insert(database).id
    older = replace(rows.classified(old), model_key=None, embedding=None)
    done = writer.write([record(RESULTS, older.to_json()), result(new)])
    assert sorted(image.id for image in done) == [old, new]
    assert embedding_of(database, old) is None
    assert embedding_of(database, new) == rows.EMBEDDING


def test_labels_are_not_stored_without_their_embedding(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction: goes red where a crash between the two would lose the embedding."""
    image = rows.insert(database)

    def crash(*_arguments: object) -> None:
        raise Unavailable("crashed")

    monkeypatch.setattr("gateway.embeddings.keep", crash)
    with pytest.raises(Unavailable):
        writer.write([result(image.id)])
    assert rows.find(database, image.id).status is Status.PENDING


def gone(image_id: int, model_key: str | None = rows.MODEL_KEY) -> fakes.Record:
    event = rows.failed(image_id, "It is gone.", MODEL_GONE, model_key)
    return record(ERRORS, event.to_json())


WAITS = "SELECT awaits_model AND published_at IS NULL AND status = 'PENDING' FROM images"


def test_an_image_whose_model_is_gone_has_not_failed(database: Database, writer: Writer) -> None:
    rows.activate(database, "models/new.json")
    image, bad = rows.insert(database), rows.insert(database)
    for _ in range(2):  # the second is a duplicate
        done = writer.write([gone(image.id), failure(bad.id)])
        assert {each.id for each in done} <= {bad.id}
        assert rows.value(database, f"{WAITS} WHERE id = %s", image.id)
    assert rows.find(database, bad.id).status is Status.FAILED


@pytest.mark.parametrize("active", [None, rows.MODEL_KEY])
def test_without_another_model_it_is_left_to_the_sweeper(
    database: Database, writer: Writer, active: str | None
) -> None:
    """Goes red where an image would be sent round and round as fast as it can."""
    if active:
        rows.activate(database, active)
    image = rows.insert(database)
    before = rows.find(database, image.id)
    assert writer.write([gone(image.id)]) == []
    assert rows.find(database, image.id) == before
    assert not rows.value(database, WAITS)


@pytest.mark.parametrize("model_key", ["models/older.json", None])
def test_that_another_model_was_gone_is_no_longer_news(
    database: Database, writer: Writer, model_key: str | None
) -> None:
    rows.activate(database, "models/new.json")
    image = rows.insert(database)
    assert writer.write([gone(image.id, model_key)]) == []
    assert not rows.value(database, WAITS)


def test_an_answer_that_came_all_the_same_stands(database: Database, writer: Writer) -> None:
    rows.activate(database, "models/new.json")
    one, two, three = (rows.insert(database).id for _ in range(3))
    writer.write([gone(one), result(one), result(two)])
    writer.write([gone(two), gone(three)])
    writer.write([result(three)])
    assert {rows.find(database, each).status for each in (one, two, three)} == {Status.COMPLETED}


def test_a_deleted_image_stays_deleted(database: Database, writer: Writer, cache: Cache) -> None:
    image = rows.insert(database)
    with database.statement() as cursor:
        images.delete(cursor, image.id)
    cache.forget(image.id)
    rows.activate(database, "models/new.json")
    assert writer.write([result(image.id), gone(image.id)]) == []
    assert cache.get(image.id) == Found(None)
    assert embedding_of(database, image.id) is None


@pytest.mark.parametrize(
    "value",
    [None, b"", b"{", b"[]", b"null", b'{"imageId": "1"}', b"\xff\xfe", b'{"imageId": 1}'],
    ids=repr,
)
@pytest.mark.parametrize("topic", [RESULTS, ERRORS])
def test_what_is_no_event_is_passed_over(
    database: Database, writer: Writer, topic: str, value: bytes | None
) -> None:
    image = rows.insert(database)
    (done,) = writer.write([record(topic, value), result(image.id)])
    assert done.id == image.id


def unstorable(image_id: int) -> dict[str, fakes.Record]:
    plain = rows.classified(image_id).to_json()
    no_number = rows.classified(image_id, confidence=float("nan"))
    return {
        "nul-label": record(RESULTS, rows.classified(image_id, "a\0b").to_json()),
        "surrogate": record(RESULTS, plain.replace(b"tabby cat", rb"\ud800")),
        "not-a-number": record(RESULTS, no_number.to_json()),
        "huge-id": record(RESULTS, rows.classified(10**40).to_json()),
        "nul-reason": record(ERRORS, rows.failed(image_id, "a\0b").to_json()),
    }


@pytest.mark.parametrize("kind", sorted(unstorable(1)))
def test_what_postgres_cannot_hold_does_not_stop_the_others(
    database: Database, writer: Writer, kind: str
) -> None:
    bad, good, also_good = (rows.insert(database).id for _ in range(3))
    done = writer.write([result(good), unstorable(bad)[kind], failure(also_good)])
    assert sorted(image.id for image in done) == [good, also_good]
    assert rows.find(database, bad).status is Status.PENDING


def test_without_redis_rows_are_written_all_the_same(database: Database) -> None:
    image = rows.insert(database)
    without = Writer(database, cache_module.connect("redis://127.0.0.1:1/0", 0.1), BASE)
    assert [each.id for each in without.write([result(image.id)])] == [image.id]


# The order of a turn: rows, cache, offsets


def run_until(writer: Writer, consumer: fakes.Consumer, done: Callable[[], bool]) -> None:
    lifecycle = Lifecycle()
    thread = threading.Thread(target=writer.run, args=(consumer, lifecycle, Pulse()))
    thread.start()
    try:
        until(done)
    finally:
        lifecycle.stop()
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_offsets_are_committed_behind_the_rows_and_the_cache(
    database: Database, writer: Writer, cache: Cache
) -> None:
    """Goes red when offsets are committed first."""
    image = rows.insert(database)
    seen: list[tuple[Status, bool]] = []

    def look() -> None:
        seen.append((rows.find(database, image.id).status, cache.get(image.id) is not None))

    consumer = fakes.Consumer(RESULTS, [rows.classified(image.id).to_json()], look)
    run_until(writer, consumer, lambda: consumer.committed == 1)
    assert seen == [(Status.COMPLETED, True)]


def test_a_commit_that_fails_is_done_again_with_its_records(
    database: Database, writer: Writer
) -> None:
    image = rows.insert(database)
    faults = [KafkaError("no coordinator")]

    def fail_once() -> None:
        if faults:
            raise faults.pop()

    consumer = fakes.Consumer(RESULTS, [rows.classified(image.id).to_json()], fail_once)
    run_until(writer, consumer, lambda: consumer.committed == 1)
    assert consumer.steps[:4] == ["poll", "seek", "poll", "commit"]
    assert rows.find(database, image.id).status is Status.COMPLETED


def test_while_postgres_is_away_records_are_kept_and_written_later(
    database_url: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red when a failed write does not rewind."""
    database = Database(database_url, pool_size=2, timeout_s=2)
    image = rows.insert(database)
    connect, tried = database.connect, threading.Event()

    def away() -> object:
        tried.set()
        raise Unavailable("Postgres is away")

    monkeypatch.setattr(database, "connect", away)
    database.close()
    consumer = fakes.Consumer(RESULTS, [rows.classified(image.id).to_json()])

    def back_and_committed() -> bool:
        if tried.is_set():
            monkeypatch.setattr(database, "connect", connect)
        return consumer.committed == 1

    run_until(Writer(database, cache, BASE), consumer, back_and_committed)
    assert consumer.steps[:2] == ["poll", "seek"]
    assert rows.find(database, image.id).status is Status.COMPLETED
    database.close()


def test_it_is_ready_while_its_turns_succeed(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (rows.classified(rows.insert(database).id).to_json() for _ in range(2))
    ready_at_commits: list[bool] = []
    ready_at_pauses: list[bool] = []

    def note_and_fail_the_second() -> None:
        ready_at_commits.append(writer.is_ready)
        if len(ready_at_commits) == 2:
            raise KafkaError("no coordinator")

    def note(_lifecycle: Lifecycle, _seconds: float) -> None:
        ready_at_pauses.append(writer.is_ready)

    def both_are_committed() -> bool:
        if writer.is_ready and len(consumer.values) == 1:
            consumer.values.append(second)
        return consumer.committed == 2 and writer.is_ready

    monkeypatch.setattr(Lifecycle, "sleep", note)
    consumer = fakes.Consumer(RESULTS, [first], note_and_fail_the_second)
    run_until(writer, consumer, both_are_committed)
    assert ready_at_commits == [False, True, False]
    assert ready_at_pauses == [False]


def test_without_partitions_it_is_not_ready(writer: Writer) -> None:
    consumer = fakes.Consumer(RESULTS, [], partitions=0)
    run_until(writer, consumer, lambda: len(consumer.steps) > 3)
    assert not writer.is_ready


def test_each_turn_beats(writer: Writer) -> None:
    beats: list[float] = []
    lifecycle, consumer = Lifecycle(), fakes.Consumer(RESULTS, [])

    def clock_s() -> float:
        beats.append(0)
        if len(beats) > 3:
            lifecycle.stop()
        return 0

    writer.run(consumer, lifecycle, Pulse(clock_s))
    assert len(beats) == len(consumer.steps) + 1  # and one at the pulse's own beginning


# On real brokers


def send(settings: KafkaSettings, topic: str, *values: bytes) -> None:
    producer = kafka.producer(settings, "test")
    acks = producer.send_all([kafka.Record(topic, b"1", value, []) for value in values])
    assert all(isinstance(ack, kafka.Ack) for ack in acks)
    producer.close()


def run_on(
    settings: KafkaSettings, writer: Writer, done: Callable[[], bool], *, crash: bool = False
) -> None:
    """A writer process's life, ended in order or between the rows and the offsets."""
    consumer = kafka.consumer(settings, WRITER_GROUP, "writer", 100)
    lifecycle = Lifecycle()
    if crash:
        consumer.commit = lambda _offsets, timeout_ms: lifecycle.stop()
    thread = threading.Thread(target=writer.run, args=(consumer, lifecycle, Pulse()))
    thread.start()
    try:
        until(done, within_s=20)
    finally:
        lifecycle.stop()
        thread.join(timeout=10)
        consumer.close(autocommit=False, timeout_ms=2_000)


def test_both_topics_are_written_and_committed(
    database: Database, writer: Writer, kafka_settings: KafkaSettings
) -> None:
    good, bad = rows.insert(database).id, rows.insert(database).id
    send(kafka_settings, RESULTS, b"rubbish", rows.classified(good).to_json())
    send(kafka_settings, ERRORS, rows.failed(bad).to_json())
    run_on(kafka_settings, writer, lambda: unread(kafka_settings) == 0)
    assert rows.find(database, good).status is Status.COMPLETED
    assert rows.find(database, bad).status is Status.FAILED


@pytest.mark.parametrize("kafka_settings", ["apache_kafka"], indirect=True)  # tansu takes 7 s
def test_a_crash_before_the_commit_repeats_without_harm(
    database: Database, writer: Writer, kafka_settings: KafkaSettings
) -> None:
    image = rows.insert(database)
    send(kafka_settings, RESULTS, rows.classified(image.id).to_json())

    def is_done() -> bool:
        return rows.find(database, image.id).status is Status.COMPLETED

    run_on(kafka_settings, writer, is_done, crash=True)
    assert unread(kafka_settings) == 1
    before = rows.find(database, image.id)
    run_on(kafka_settings, writer, lambda: unread(kafka_settings) == 0)
    assert rows.find(database, image.id) == before
