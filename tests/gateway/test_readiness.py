"""Readiness: each part that fails is named, and no more often asked than it must be."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from contracts.topics import DISPATCHER_GROUP, IMAGE_PROCESSING, WRITER_GROUP
from gateway import readiness, registry
from gateway.database import Database
from gateway.readiness import NotReady, Readiness, Report
from gateway.registry import Registry
from runtime import kafka
from runtime.errors import ObjectNotFound, Permanent, Retryable, Unavailable
from runtime.objects import ObjectStore
from runtime.settings import KafkaSettings
from runtime.triton import TritonClient
from tests.gateway import rows
from tests.gateway.test_registry import exported

OK = "ok"


def well() -> None:
    return None


def raising(error: Exception) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


@pytest.mark.parametrize(
    "error",
    [NotReady("tired"), Unavailable("away"), Retryable("later"), Permanent("x", "gone")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("failing", ["outbox", "model", "consumers"])
def test_one_failing_check_is_named_and_enough(failing: str, error: Exception) -> None:
    checks = dict.fromkeys(("outbox", "model", "consumers"), well)
    report = Readiness({**checks, failing: raising(error)}, max_age_s=0).report()
    assert not report.ready
    assert report.checks == {**dict.fromkeys(checks, OK), failing: str(error)}


def test_all_well_is_ready() -> None:
    report = Readiness({"a": well, "b": well}, max_age_s=0).report()
    assert report == Report({"a": OK, "b": OK})
    assert report.ready


def test_a_fault_of_our_own_is_not_called_unready() -> None:
    with pytest.raises(ZeroDivisionError):
        Readiness({"a": raising(ZeroDivisionError())}, max_age_s=0).report()


def test_callers_share_one_answer_for_a_while() -> None:
    asked: list[float] = []
    states = Readiness({"a": lambda: asked.append(0)}, max_age_s=0.2)
    assert states.report() is states.report()
    assert len(asked) == 1
    time.sleep(0.25)
    states.report()
    assert len(asked) == 2


def test_before_any_check_has_ended_it_is_not_ready() -> None:
    reports: list[Report] = []

    def ask_again() -> None:
        reports.append(states.report())  # as another caller would, meanwhile

    states = Readiness({"a": ask_again}, max_age_s=60)
    assert states.report().ready
    assert [report.ready for report in reports] == [False]


class _Hanging:
    """A check that hangs from its second turn on, until it is let go."""

    def __init__(self) -> None:
        self.turns = 0
        self.entered, self.let_go = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.turns += 1
        if self.turns > 1:
            self.entered.set()
            assert self.let_go.wait(timeout=10)


@pytest.fixture
def hanging() -> Iterator[_Hanging]:
    made = _Hanging()
    yield made
    made.let_go.set()


def refreshing(states: Readiness, check: _Hanging) -> threading.Thread:
    """The one caller whom the check holds."""
    thread = threading.Thread(target=states.report)
    thread.start()
    assert check.entered.wait(timeout=5)
    return thread


def test_callers_do_not_pile_up_behind_a_check_that_hangs(hanging: _Hanging) -> None:
    states = Readiness({"a": hanging}, max_age_s=0)
    assert states.report().ready
    thread = refreshing(states, hanging)
    started_s = time.monotonic()
    assert [states.report() for _ in range(20)] == [Report({"a": OK})] * 20
    assert time.monotonic() - started_s < 1
    assert hanging.turns == 2
    hanging.let_go.set()
    thread.join(timeout=5)
    assert states.report().ready
    assert hanging.turns == 3


def test_an_answer_grows_too_old_to_believe(
    hanging: _Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "STALE_S", 0.1)
    states = Readiness({"a": hanging}, max_age_s=0)
    assert states.report().ready
    thread = refreshing(states, hanging)
    time.sleep(0.15)
    report = states.report()
    assert not report.ready
    assert report.checks["a"] == OK
    assert "too long" in report.checks["age"]
    hanging.let_go.set()
    thread.join(timeout=5)
    assert states.report() == Report({"a": OK})


def test_a_check_that_failed_by_a_fault_of_ours_is_asked_again() -> None:
    faults = [ZeroDivisionError()]

    def check() -> None:
        if faults:
            raise faults.pop()

    states = Readiness({"a": check}, max_age_s=60)
    with pytest.raises(ZeroDivisionError):
        states.report()
    assert states.report().ready


@pytest.mark.integration
def test_an_outbox_that_is_not_emptied_is_not_ready(database: Database) -> None:
    check = readiness.check_outbox(database)
    check()
    rows.insert(database)
    check()
    rows.execute(database, "UPDATE images SET updated_at = now() - interval '8 s'")
    with pytest.raises(NotReady, match="waited 8 s for the relay"):
        check()
    rows.execute(database, "UPDATE images SET published_at = now(), status = 'PROCESSING'")
    check()


@pytest.mark.integration
def test_without_postgres_the_outbox_is_not_ready() -> None:
    with pytest.raises(Unavailable):
        readiness.check_outbox(Database("postgresql://nobody@127.0.0.1:1/none", 1, 1.0))()


class _KnownTriton(TritonClient):
    """Answers each canary with the same embedding."""

    def __init__(self, embedding: npt.NDArray[np.float32]) -> None:
        self._embedding = embedding
        self.asked: tuple[Any, ...] = ()

    def infer(
        self, model: str, version: str, inputs: Mapping[str, npt.NDArray[Any]], output: str
    ) -> npt.NDArray[np.float32]:
        shapes = {name: (array.shape, str(array.dtype)) for name, array in inputs.items()}
        self.asked = (model, version, shapes, output)
        return self._embedding


def unit(dimensions: int) -> npt.NDArray[np.float32]:
    embedding = np.zeros((1, dimensions), np.float32)
    embedding[0, 0] = 1
    return embedding


@pytest.fixture
def models(database: Database, objects: ObjectStore, tmp_path: Any) -> Registry:
    registry.register(database, objects, exported(tmp_path / "m"))
    return Registry(database)


@pytest.mark.integration
def test_the_canary_is_a_picture_for_the_active_model(
    models: Registry, objects: ObjectStore
) -> None:
    triton = _KnownTriton(unit(384))
    readiness.check_model(models, objects, triton)()
    canary = {"pixels": ((1, 224, 224, 3), "uint8")}
    assert triton.asked == ("clip_vit", "1", canary, "embedding")


@pytest.mark.integration
@pytest.mark.parametrize(
    "embedding",
    [unit(512), unit(384) * 2, unit(384) * 0, unit(384) * np.nan],
    ids=["wrong-size", "long", "zero", "nan"],
)
def test_an_embedding_that_is_none_is_not_ready(
    models: Registry, objects: ObjectStore, embedding: npt.NDArray[np.float32]
) -> None:
    with pytest.raises(NotReady, match="canary"):
        readiness.check_model(models, objects, _KnownTriton(embedding))()


@pytest.mark.integration
def test_a_manifest_that_is_gone_is_not_ready(models: Registry, objects: ObjectStore) -> None:
    objects.delete(models.active().manifest_key)
    with pytest.raises(ObjectNotFound):
        readiness.check_model(models, objects, _KnownTriton(unit(384)))()


@pytest.mark.integration
def test_a_triton_that_is_away_is_not_ready(models: Registry, objects: ObjectStore) -> None:
    with pytest.raises(Unavailable):
        readiness.check_model(models, objects, TritonClient("127.0.0.1:1", 1.0))()


@pytest.mark.integration
def test_both_groups_need_a_member(kafka_settings: KafkaSettings) -> None:
    check = readiness.check_consumers(kafka_settings)
    with pytest.raises((NotReady, Unavailable)):
        check()
    members = []
    for group, topic in ((DISPATCHER_GROUP, IMAGE_PROCESSING), (WRITER_GROUP, IMAGE_PROCESSING)):
        member = kafka.consumer(kafka_settings, group, "member", 1)
        member.subscribe([topic])
        member.poll(timeout_ms=100)
        members.append(member)
        if group == DISPATCHER_GROUP:
            with pytest.raises((NotReady, Unavailable)):
                check()
    give_up_at_s = time.monotonic() + 15
    while readiness._answer(check) != OK:
        assert time.monotonic() < give_up_at_s, readiness._answer(check)
        for member in members:
            member.poll(timeout_ms=100)
    for member in members:
        member.close(autocommit=False, timeout_ms=1_000)


def test_without_kafka_the_consumers_are_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "ADMIN_TIMEOUT_MS", 300)
    with pytest.raises(Unavailable):
        readiness.check_consumers(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"))()
