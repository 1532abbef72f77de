"""Repointing: images whose model is gone are asked of the active one, with the labels they had."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.events import MODEL_GONE
from gateway import bootstrap, images, metrics, outbox, repointing
from gateway.cache import Cache
from gateway.database import Database
from gateway.images import Status
from gateway.labels.matrices import LabelMatrices, MatrixCache
from gateway.labels.prompts import PromptsUnavailable
from gateway.notifications import SUBMITTED, TERMINAL, Listener, parse_ids
from gateway.outbox import Unpublished
from gateway.registry import ActiveModel, Manifests, register
from gateway.replay import Choice, Replay
from gateway.repointing import Repointer
from gateway.settings import GatewaySettings
from runtime.errors import Unavailable
from runtime.lifecycle import Lifecycle
from runtime.objects import ObjectStore
from tests.api.road import NOWHERE
from tests.gateway import rows
from tests.gateway.labels.prompts import Embedder
from tests.gateway.test_registry import exported
from tests.gateway.waits import until
from zero_shot import label_set

pytestmark = pytest.mark.integration

BASE = "http://cdn/images"
PETS = ("cat", "dog")
OWN_TEMPLATES = ("a photo of a {}",)


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def matrices(database: Database, objects: ObjectStore, embedder: Embedder) -> LabelMatrices:
    return LabelMatrices(database, objects, Manifests(objects), embedder, 1, 20_000)


@pytest.fixture
def repointer(
    database: Database, cache: Cache, objects: ObjectStore, matrices: LabelMatrices
) -> Repointer:
    return Repointer(database, cache, matrices, MatrixCache(objects, 0), BASE)


Version = Callable[[str], ActiveModel]


@pytest.fixture
def activated(database: Database, objects: ObjectStore, tmp_path: Path) -> Version:
    """Makes a version the active one; each has a default label set of its own."""

    def version(number: str) -> ActiveModel:
        folder = exported(tmp_path / number, number, labels=f"labels {number}".encode())
        return register(database, objects, folder)

    return version


def uploaded(database: Database, answering: ActiveModel) -> int:
    return rows.insert(
        database,
        model_key=answering.manifest_key,
        label_set=answering.label_set,
        label_set_key=answering.label_set_key,
    ).id


def give_back(database: Database, answering: ActiveModel, *image_ids: int) -> None:
    """As the writer does, told that their model is gone."""
    with database.statement() as cursor:
        gone = [rows.failed(each, model_key=answering.manifest_key) for each in image_ids]
        assert outbox.await_model(cursor, gone) == len(image_ids)


def claimed(database: Database) -> dict[int, Unpublished]:
    with database.transaction() as cursor:
        return {row.id: row for row in outbox.claim(cursor, 10_000)}


def with_labels(
    matrices: LabelMatrices, model: ActiveModel, name: str, templates: tuple[str, ...] | None
) -> ActiveModel:
    return replace(model, label_set=name, label_set_key=matrices.key(model, PETS, templates))


def test_default_labels_become_the_new_models(
    database: Database, repointer: Repointer, activated: Version
) -> None:
    old = activated("1")
    ids = [uploaded(database, old) for _ in range(3)]
    untouched = uploaded(database, old)
    new = activated("2")
    give_back(database, old, *ids)
    listener = Listener(database, SUBMITTED)
    listener.wait(0)
    assert list(claimed(database)) == [untouched]
    assert repointer.repoint() == 3
    assert until(lambda: listener.wait(1)), "the relay is woken"
    listener.close()
    found = claimed(database)
    assert list(found) == [*ids, untouched]
    for each in ids:
        row = found[each]
        assert (row.model_key, row.label_set_key) == (new.manifest_key, new.label_set_key)
    assert found[untouched].model_key == old.manifest_key
    assert repointer.repoint() == 0


@pytest.mark.parametrize("templates", [None, ("{} drawn by a child", "my {}")])
@pytest.mark.parametrize("name", ["pets", "ad-hoc"])
def test_other_labels_stay_and_are_embedded_by_the_new_model(
    database: Database,
    objects: ObjectStore,
    repointer: Repointer,
    matrices: LabelMatrices,
    embedder: Embedder,
    activated: Version,
    name: str,
    templates: tuple[str, ...] | None,
) -> None:
    """Also those of a set that was deleted meanwhile; the embedding is made once for all."""
    old = activated("1")
    asked = with_labels(matrices, old, name, templates)
    ids = [uploaded(database, asked) for _ in range(3)]
    new = activated("2")
    give_back(database, old, *ids)
    calls = len(embedder.calls)
    assert repointer.repoint() == 3
    assert len(embedder.calls) == calls + 1
    used = templates or OWN_TEMPLATES
    assert embedder.calls[-1] == [text.replace("{}", label) for label in PETS for text in used]
    for row in claimed(database).values():
        assert (row.model_key, row.label_set) == (new.manifest_key, name)
        assert row.label_set_key == matrices.find(new, PETS, templates)
        assert label_set.decode(objects.get(row.label_set_key)).labels == PETS


def test_a_model_that_is_back_answers_what_was_asked_of_it(
    database: Database, repointer: Repointer, matrices: LabelMatrices, activated: Version
) -> None:
    old = activated("1")
    asked = with_labels(matrices, old, "pets", None)
    by_default, by_name = uploaded(database, old), uploaded(database, asked)
    activated("2")
    give_back(database, old, by_default, by_name)
    activated("1")
    rows.execute(database, "DELETE FROM label_matrices")  # nothing has to be looked up
    assert repointer.repoint() == 2
    found = claimed(database)
    assert found[by_default].label_set_key == old.label_set_key
    assert found[by_name].label_set_key == asked.label_set_key


@pytest.mark.parametrize("missing", ["object", "damaged", "row"])
def test_labels_nobody_knows_any_more_fail_in_words_and_can_be_replayed(
    database: Database,
    cache: Cache,
    objects: ObjectStore,
    repointer: Repointer,
    matrices: LabelMatrices,
    activated: Version,
    missing: str,
) -> None:
    old = activated("1")
    asked = with_labels(matrices, old, "pets", None)
    lost, other = uploaded(database, asked), uploaded(database, old)
    activated("2")
    give_back(database, old, lost, other)
    kept = objects.get(asked.label_set_key)
    if missing == "row":
        rows.execute(database, "DELETE FROM label_matrices")
    elif missing == "object":
        objects.delete(asked.label_set_key)
    else:
        objects.put(asked.label_set_key, b"damaged")
    listener = Listener(database, TERMINAL)
    listener.wait(0)
    assert repointer.repoint() == 1
    assert parse_ids(until(lambda: listener.wait(1))) == [lost]
    listener.close()
    image = rows.find(database, lost)
    assert image.status is Status.FAILED
    assert "'pets'" in (image.failure_reason or "")
    found = cache.get(lost)
    assert found is not None
    assert json.loads(found.resource or b"")["status"] == "FAILED"
    assert list(claimed(database)) == [other]
    replay = Replay(database, cache)
    assert replay.count(Choice()) == {MODEL_GONE: 1}
    assert list(replay.run(Choice())) == [1]
    if missing == "row":
        matrices = LabelMatrices(database, objects, Manifests(objects), Embedder(), 1, 20_000)
        matrices.key(old, PETS, None)
    objects.put(asked.label_set_key, kept)
    assert repointer.repoint() == 1
    assert set(claimed(database)) == {lost, other}


def test_a_text_model_that_is_away_holds_up_only_those_who_need_it(
    database: Database,
    repointer: Repointer,
    matrices: LabelMatrices,
    embedder: Embedder,
    activated: Version,
) -> None:
    old = activated("1")
    asked = with_labels(matrices, old, "pets", None)
    needs, needs_not = uploaded(database, asked), uploaded(database, old)
    activated("2")
    give_back(database, old, needs, needs_not)

    def away() -> None:
        raise PromptsUnavailable("away")

    embedder.before = away
    assert repointer.repoint() == 1
    assert list(claimed(database)) == [needs_not]
    assert rows.find(database, needs).status is Status.PENDING
    assert metrics.AWAITING_MODEL._value.get() == 1
    embedder.before = lambda: None
    assert repointer.repoint() == 1
    assert metrics.AWAITING_MODEL._value.get() == 0
    assert list(claimed(database)) == [needs, needs_not]


def test_without_an_active_model_all_wait(
    database: Database, repointer: Repointer, activated: Version
) -> None:
    old = activated("1")
    image_id = uploaded(database, old)
    activated("2")
    give_back(database, old, image_id)
    rows.execute(database, "UPDATE models SET active = false")
    assert repointer.repoint() == 0
    assert claimed(database) == {}
    activated("2")
    assert repointer.repoint() == 1


def test_more_than_a_batch_is_done_in_batches(
    database: Database, repointer: Repointer, activated: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repointing, "BATCH", 2)
    old = activated("1")
    ids = [uploaded(database, old) for _ in range(5)]
    activated("2")
    give_back(database, old, *ids)
    assert repointer.repoint() == 5
    assert list(claimed(database)) == ids


def test_what_was_answered_or_deleted_meanwhile_is_left_alone(
    database: Database, repointer: Repointer, activated: Version
) -> None:
    old = activated("1")
    answered, deleted = uploaded(database, old), uploaded(database, old)
    activated("2")
    give_back(database, old, answered, deleted)
    with database.transaction() as cursor:
        images.complete(cursor, [rows.classified(answered)])
        images.delete(cursor, deleted)
    before = rows.find(database, answered)
    assert repointer.repoint() == 0
    assert rows.find(database, answered) == before


def test_the_loop_outlives_what_it_meets(
    repointer: Repointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle, rounds = Lifecycle(), list[int]()
    faults = [Unavailable("Postgres is away"), ZeroDivisionError()]

    def repoint() -> int:
        rounds.append(1)
        if faults:
            raise faults.pop()
        lifecycle.stop()
        return 0

    monkeypatch.setattr(repointer, "repoint", repoint)
    repointer.run(lifecycle, interval_s=0.001)
    assert len(rounds) == 3


def test_the_relays_process_does_it(
    database: Database,
    database_url: str,
    redis_url: str,
    objects: ObjectStore,
    tmp_path: Path,
    activated: Version,
) -> None:
    """Goes red where the relay starts without its repointer."""
    old = activated("1")
    image_id = uploaded(database, old)
    new = activated("2")
    give_back(database, old, image_id)
    settings = GatewaySettings(
        database_url=database_url,
        redis_url=redis_url,
        kafka_bootstrap_servers=NOWHERE,
        object_store_url=(tmp_path / "objects").as_uri(),
        triton_grpc_address=NOWHERE,
        probes_port=0,
        sweep_interval_s=0.1,
    )
    lifecycle = Lifecycle()
    relay = threading.Thread(target=bootstrap.run_relay, args=(settings, lifecycle))
    relay.start()
    query = "SELECT model_key = %s AND NOT awaits_model FROM images WHERE id = %s"
    try:
        until(lambda: rows.value(database, query, new.manifest_key, image_id))
    finally:
        lifecycle.stop()
        relay.join(30)
    assert not relay.is_alive()
