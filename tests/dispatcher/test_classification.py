"""Every record of a batch is answered, whatever happens to it, its neighbours and what it needs."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contracts.events import (
    MODEL_GONE,
    ImageClassified,
    ImageFailed,
    ImageSubmitted,
    message_key,
)
from contracts.manifest import Manifest, Preprocessing
from dispatcher import metrics
from dispatcher.absence import Absences
from dispatcher.artefacts import Artefacts
from dispatcher.breaker import CircuitBreaker, State
from dispatcher.classification import UNREADABLE_PATIENCE, Classifier, RetryRules
from dispatcher.fetching import Originals
from dispatcher.lease import Lease
from dispatcher.preprocessing import Pixels, UndecodableImage, prepare
from dispatcher.publisher import Answer, Publisher
from dispatcher.triton import Embedder
from dispatcher.work import DETAIL_CHARACTERS
from runtime.backoff import Backoff
from runtime.errors import ObjectNotFound, StorageFull, Unavailable
from runtime.lifecycle import Lifecycle, Stopped
from runtime.objects import ObjectStore
from runtime.triton import InferenceFailed, InferenceRejected, ModelUnknown
from tests import photos
from tests.contracts.test_manifest import GOOD
from tests.dispatcher.test_triton import FakeTriton

MODEL, LABELS, WIDE_LABELS = "models/m.json", "label-sets/l.npz", "label-sets/wide.npz"
MAX_ATTEMPTS = 3
SIZE, DIM = 8, 2
LABEL_SET_BYTES = 100_000
GRACE_S = 30.0
OLD_MODEL = "models/old.json"
PATIENCE = 50  # pauses after which a fake lifecycle stops: a test must not run for ever


def grey(level: int) -> bytes:
    """A picture that stays one level, by which the fake Triton knows it."""
    return photos.encode(Image.new("RGB", (20, 20), (level,) * 3), "PNG")


def npz(dim: int) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, labels=np.array(["cat", "dog"]), embeddings=np.eye(2, dim, dtype=np.float32))
    return buffer.getvalue()


def manifest() -> bytes:
    steps = {**GOOD["preprocessing"], "size_px": SIZE}
    changes = {"preprocessing": steps, "embedding_dim": DIM, "triton_version": "3"}
    return json.dumps({**GOOD, **changes}).encode()


class FakeObjects(ObjectStore):
    """A dictionary; `failures` of a key are raised first, one a call; all fails while `away`."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.failures: dict[str, list[Exception]] = {}
        self.away: Exception | None = None
        self.gets: list[str] = []

    def get(self, key: str) -> bytes:
        self.gets.append(key)
        if self.away is not None:
            raise self.away
        if self.failures.get(key):
            raise self.failures[key].pop(0)
        if key not in self.objects:
            raise ObjectNotFound(key)
        return self.objects[key]


class FakeEmbeddings(FakeTriton):
    """One axis for every picture; failures of a level are raised one a request, then no more."""

    def __init__(self) -> None:
        super().__init__()
        self.passing: dict[int, list[Exception]] = {}

    def infer(self, model: str, version: str, inputs: Any, output: str) -> Any:
        levels = [int(picture[0, 0, 0]) for picture in inputs["pixels"]]
        for level in levels:
            if self.passing.get(level):
                self.asked.append(levels)
                raise self.passing[level].pop(0)
        super().infer(model, version, inputs, output)
        return np.tile(np.array([1.0, 0.0], np.float32), (len(levels), 1))


class FakePublisher(Publisher):
    def __init__(self) -> None:
        self.batches: list[list[Answer]] = []

    def publish(self, answers: Sequence[Answer], lease: Lease) -> None:
        for answer in answers:
            answer.to_json()
        if answers:
            self.batches.append(list(answers))

    @property
    def answers(self) -> dict[int, Answer]:
        found = [answer for batch in self.batches for answer in batch]
        assert len({answer.image_id for answer in found}) == len(found), "answered once"
        return {answer.image_id: answer for answer in found}


class FakeLifecycle(Lifecycle):
    """Counts pauses instead of sleeping; `meanwhile` happens in each."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []
        self.meanwhile: Callable[[int], None] = lambda _pause: None

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.meanwhile(len(self.pauses))
        if len(self.pauses) >= PATIENCE:
            self.stop()


class World:
    """A classifier and everything around it."""

    def __init__(self, decoders: ThreadPoolExecutor) -> None:
        self.objects = FakeObjects({MODEL: manifest(), LABELS: npz(DIM), WIDE_LABELS: npz(DIM + 1)})
        self.triton = FakeEmbeddings()
        self.publisher = FakePublisher()
        self.lifecycle = FakeLifecycle()
        self.lease = Lease(self.lifecycle)
        self.states: list[State] = []
        self.now_s = 0.0
        breaker = CircuitBreaker(
            2, Backoff(1.0, 1.0, lambda: 1.0), self.states.append, lambda: self.now_s
        )
        self.classifier = Classifier(
            originals=Originals(self.objects),
            artefacts=Artefacts(self.objects, LABEL_SET_BYTES),
            embedder=Embedder(self.triton, breaker, Absences(GRACE_S, lambda: self.now_s)),
            publisher=self.publisher,
            decoders=decoders,
            retry=RetryRules(MAX_ATTEMPTS, Backoff(0.1, 1.0)),
            top_k=5,
        )

    def submit(self, image_id: int, data: bytes | None = None, **changes: str) -> Any:
        """A record as Kafka brings it; picture and level are the image's id."""
        key = f"images/{image_id}"
        self.objects.objects[key] = grey(image_id) if data is None else data
        fields = {"model_key": MODEL, "label_set": "few", "label_set_key": LABELS, **changes}
        event = ImageSubmitted(image_id, key, "image/png", trace_id="ab" * 16, **fields)
        return record(image_id, event.to_json())

    def answer(self, *records: Any) -> dict[int, Answer]:
        self.classifier.answer(records, self.lease)
        return self.publisher.answers


def record(image_id: int, value: bytes | None) -> Any:
    """At the offset of its image's id."""
    return SimpleNamespace(
        topic="image-processing-topic",
        partition=4,
        offset=image_id,
        key=message_key(image_id),
        value=value,
    )


@pytest.fixture
def world() -> Iterator[World]:
    with ThreadPoolExecutor(2) as decoders:
        yield World(decoders)


def reasons(answers: dict[int, Answer]) -> dict[int, str]:
    return {
        image_id: answer.reason if isinstance(answer, ImageFailed) else "classified"
        for image_id, answer in answers.items()
    }


def retries(cause: str) -> float:
    return float(metrics.RETRIES.labels(cause)._value.get())


def observations(step: str) -> float:
    [family] = metrics.STEP_SECONDS.labels(step).collect()
    return next(s.value for s in family.samples if s.name.endswith("_count"))


def test_a_batch_is_one_request_and_one_publication(world: World) -> None:
    answers = world.answer(*(world.submit(image_id) for image_id in (1, 2, 3)))
    assert world.triton.asked == [[1, 2, 3]]
    assert len(world.publisher.batches) == 1
    assert list(answers) == [1, 2, 3]
    first = answers[1]
    assert isinstance(first, ImageClassified)
    assert (first.scores[0].label, first.label_set, first.model) == ("cat", "few", "starter")
    assert (first.model_version, first.trace_id) == ("3", "ab" * 16)
    assert first.model_key == MODEL
    assert first.embedding == np.array([1.0, 0.0], "<f4").tobytes()
    assert world.lifecycle.pauses == []


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param({"data": b"no picture"}, "undecodable_image", id="undecodable"),
        pytest.param({"label_set_key": WIDE_LABELS}, "bad_label_set", id="another model's labels"),
    ],
)
def test_a_permanent_failure_harms_no_neighbour(
    world: World, spoil: dict[str, Any], reason: str
) -> None:
    answers = world.answer(world.submit(1), world.submit(2, **spoil), world.submit(3))
    assert reasons(answers) == {1: "classified", 2: reason, 3: "classified"}
    failed = answers[2]
    assert isinstance(failed, ImageFailed)
    assert failed.origin == "image-processing-topic-4-2"
    assert failed.model_key == MODEL
    assert failed.attempts == 1
    assert failed.detail.endswith(".")
    assert world.lifecycle.pauses == []


def test_an_image_whose_object_is_gone_fails(world: World) -> None:
    records = [world.submit(1), world.submit(2)]
    del world.objects.objects["images/2"]
    assert reasons(world.answer(*records)) == {1: "classified", 2: "object_not_found"}


def test_two_models_are_two_requests(world: World) -> None:
    world.objects.objects["models/other.json"] = manifest()
    world.answer(world.submit(1), world.submit(2, model_key="models/other.json"), world.submit(3))
    assert sorted(world.triton.asked) == [[1, 3], [2]]


@pytest.mark.parametrize("value", [None, b"", b"{}", b"not json"])
def test_a_record_that_is_no_event_becomes_a_dead_letter(world: World, value: bytes | None) -> None:
    answers = world.answer(record(9, value), world.submit(1))
    assert reasons(answers) == {1: "classified", 9: "invalid_event"}


def test_a_fault_of_ours_costs_its_image_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(data: bytes, how: Preprocessing) -> Pixels:
        if data == world.objects.objects["images/2"]:
            raise ZeroDivisionError
        return prepare(data, how)

    monkeypatch.setattr("dispatcher.classification.prepare", faulty)
    answers = world.answer(world.submit(1), world.submit(2), world.submit(3))
    assert reasons(answers) == {1: "classified", 2: "gave_up", 3: "classified"}


@pytest.mark.parametrize("away", [MODEL, LABELS])
def test_an_artefact_that_is_away_is_asked_for_again(world: World, away: str) -> None:
    world.objects.failures[away] = [Unavailable("away")] * (MAX_ATTEMPTS * 4)
    answers = world.answer(world.submit(1), world.submit(2))
    assert reasons(answers) == {1: "classified", 2: "classified"}
    assert world.lifecycle.pauses


@pytest.mark.parametrize("fault", [Unavailable("away"), ObjectNotFound("any")], ids=repr)
@pytest.mark.parametrize("is_manifest_known", [True, False])
def test_a_store_that_is_away_or_not_mounted_fails_no_image(
    world: World, fault: Exception, is_manifest_known: bool
) -> None:
    if is_manifest_known:
        world.answer(world.submit(9))
    records = [world.submit(1), world.submit(2)]
    world.objects.away = fault

    def meanwhile(pause: int) -> None:
        if pause == MAX_ATTEMPTS * UNREADABLE_PATIENCE + 1:
            world.objects.away = None

    world.lifecycle.meanwhile = meanwhile
    answers = world.answer(*records)
    assert {1: "classified", 2: "classified"}.items() <= reasons(answers).items()


@pytest.mark.parametrize("key", [MODEL, LABELS])
@pytest.mark.parametrize("damaged", [None, b"", b'{"schema": 2}'])
def test_a_bad_artefact_holds_images_until_it_is_mended(
    world: World, key: str, damaged: bytes | None
) -> None:
    records = [world.submit(1), world.submit(2)]
    good = world.objects.objects.pop(key)
    if damaged is not None:
        world.objects.objects[key] = damaged

    def meanwhile(pause: int) -> None:
        if pause == MAX_ATTEMPTS * 4:
            assert world.triton.asked == [], "Triton is not asked in vain"
            world.objects.objects[key] = good

    world.lifecycle.meanwhile = meanwhile
    before = retries("artefact")
    assert reasons(world.answer(*records)) == {1: "classified", 2: "classified"}
    assert retries("artefact") - before == MAX_ATTEMPTS * 4 * 2


def test_one_unreadable_object_is_given_up_in_the_end(world: World) -> None:
    world.objects.failures["images/2"] = [Unavailable("access denied")] * 1_000
    answers = world.answer(world.submit(1), world.submit(2))
    assert reasons(answers) == {1: "classified", 2: "gave_up"}
    failed = answers[2]
    assert isinstance(failed, ImageFailed)
    assert failed.attempts == MAX_ATTEMPTS * UNREADABLE_PATIENCE


def test_a_machine_short_of_memory_fails_no_image(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortages = [MemoryError()] * (MAX_ATTEMPTS * UNREADABLE_PATIENCE + 1)

    def prepare_if_possible(data: bytes, how: Preprocessing) -> Pixels:
        if shortages:
            raise shortages.pop()
        return prepare(data, how)

    monkeypatch.setattr("dispatcher.classification.prepare", prepare_if_possible)
    assert reasons(world.answer(world.submit(1))) == {1: "classified"}


def test_a_detail_that_no_reader_takes_is_cleaned(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(data: bytes, how: Preprocessing) -> Pixels:
        raise UndecodableImage("\0\udfff" + "x" * 10_000)

    monkeypatch.setattr("dispatcher.classification.prepare", odd)
    [answer] = world.answer(world.submit(1)).values()
    assert isinstance(answer, ImageFailed)
    assert ImageFailed.from_json(answer.to_json()) == answer
    assert len(answer.detail) == DETAIL_CHARACTERS


def test_a_batch_whose_lease_is_over_ends(world: World) -> None:
    world.triton.failures = {1: Unavailable("down")}
    world.lifecycle.meanwhile = lambda _pause: world.lease.end()
    with pytest.raises(Stopped):
        world.answer(world.submit(1))
    assert len(world.lifecycle.pauses) == 1
    assert world.publisher.batches == []


def test_a_batch_that_is_no_longer_wanted_is_not_begun(world: World) -> None:
    world.lease.end()
    with pytest.raises(Stopped):
        world.answer(world.submit(1), record(9, b"{}"))
    assert world.publisher.batches == []
    assert world.objects.gets == []


@pytest.mark.parametrize("step", ["fetch", "decode", "infer", "score"])
def test_every_step_is_timed(world: World, step: str) -> None:
    before = observations(step)
    world.answer(world.submit(1))
    assert observations(step) == before + 1


def test_neighbours_do_not_wait_for_one_that_is_set_aside(world: World) -> None:
    world.objects.failures["images/2"] = [Unavailable("slow")] * 2
    world.answer(world.submit(1), world.submit(2))
    assert [[answer.image_id for answer in batch] for batch in world.publisher.batches] == [
        [1],
        [2],
    ]
    assert world.objects.gets.count("images/1") == 1


def test_triton_away_opens_the_breaker_and_counts_as_no_attempt(world: World) -> None:
    world.triton.failures = {1: Unavailable("down")}

    def meanwhile(pause: int) -> None:
        world.now_s += 0.3
        if pause == 10 * MAX_ATTEMPTS:
            world.triton.failures = {1: InferenceFailed("still odd")}

    world.lifecycle.meanwhile = meanwhile
    [answer] = world.answer(world.submit(1)).values()
    assert State.OPEN in world.states
    assert isinstance(answer, ImageFailed)
    assert (answer.reason, answer.attempts) == ("gave_up", MAX_ATTEMPTS)
    requests = len(world.triton.asked)
    assert requests < len(world.lifecycle.pauses), "an open breaker keeps requests away"


def test_triton_back_again_answers_all_without_decoding_twice(world: World) -> None:
    world.triton.passing = {1: [Unavailable("restarting")] * 8}
    world.lifecycle.meanwhile = lambda _pause: setattr(world, "now_s", world.now_s + 2)
    answers = world.answer(world.submit(1), world.submit(2))
    assert reasons(answers) == {1: "classified", 2: "classified"}
    assert world.objects.gets.count("images/1") == 1
    assert world.states[-1] is State.CLOSED


@pytest.mark.parametrize("fault", [InferenceFailed("x"), InferenceRejected("r", "x")], ids=repr)
def test_a_model_that_fails_on_everything_is_waited_for(world: World, fault: Exception) -> None:
    world.triton.failures = {1: fault, 127: fault}

    def meanwhile(pause: int) -> None:
        world.now_s += 2
        if pause == 4 * MAX_ATTEMPTS:
            world.triton.failures = {}

    world.lifecycle.meanwhile = meanwhile
    assert reasons(world.answer(world.submit(1), world.submit(2))) == {
        1: "classified",
        2: "classified",
    }


def test_an_image_that_breaks_the_model_is_given_up_alone(world: World) -> None:
    world.triton.failures = {2: InferenceFailed("broke")}
    answers = world.answer(world.submit(1), world.submit(2), world.submit(3))
    assert reasons(answers) == {1: "classified", 2: "gave_up", 3: "classified"}
    failed = answers[2]
    assert isinstance(failed, ImageFailed)
    assert failed.attempts == MAX_ATTEMPTS
    assert len(world.lifecycle.pauses) == MAX_ATTEMPTS - 1


def test_an_image_that_triton_refuses_fails_alone_at_once(world: World) -> None:
    world.triton.failures = {2: InferenceRejected("inference_rejected", "Refused.")}
    answers = world.answer(world.submit(1), world.submit(2), world.submit(3))
    assert reasons(answers) == {1: "classified", 2: "inference_rejected", 3: "classified"}
    assert world.lifecycle.pauses == []


def test_a_passing_fault_is_no_failure(world: World) -> None:
    world.triton.passing = {2: [InferenceFailed("hiccup")] * (MAX_ATTEMPTS - 1)}
    assert reasons(world.answer(world.submit(1), world.submit(2))) == {
        1: "classified",
        2: "classified",
    }


@pytest.mark.parametrize("fault", [Unavailable("away"), StorageFull("no room")], ids=repr)
def test_a_stop_answers_what_it_can_and_raises_for_the_rest(world: World, fault: Exception) -> None:
    world.objects.failures["images/2"] = [fault] * 100
    world.lifecycle.meanwhile = lambda _pause: world.lifecycle.stop()
    with pytest.raises(Stopped):
        world.answer(world.submit(1), world.submit(2))
    assert reasons(world.publisher.answers) == {1: "classified"}


def old_model(world: World) -> None:
    """A model of which Triton serves no version any more, with pictures of the level 2."""
    world.objects.objects[OLD_MODEL] = manifest()
    world.triton.failures = {2: ModelUnknown("unknown model")}


def test_an_image_whose_model_is_gone_is_answered_so_after_the_grace(world: World) -> None:
    """Its neighbours are answered at once, and the breaker has no part in it."""
    old_model(world)
    world.lifecycle.meanwhile = lambda _pause: setattr(world, "now_s", world.now_s + 4)
    answers = world.answer(world.submit(1), world.submit(2, model_key=OLD_MODEL), world.submit(3))
    assert reasons(answers) == {1: "classified", 2: MODEL_GONE, 3: "classified"}
    assert [len(batch) for batch in world.publisher.batches] == [2, 1]
    assert world.now_s == GRACE_S + 2, "not before"
    assert world.states == []
    gone = answers[2]
    assert isinstance(gone, ImageFailed)
    assert gone.model_key == OLD_MODEL
    assert gone.detail == "Version 3 of clip_vit is not served any more."


def test_once_a_model_is_gone_its_images_do_not_wait(world: World) -> None:
    """A backlog for it moves on: in one request a batch, without a pause."""
    old_model(world)
    world.lifecycle.meanwhile = lambda _pause: setattr(world, "now_s", world.now_s + GRACE_S)
    world.answer(world.submit(2, model_key=OLD_MODEL))
    pauses, asked = len(world.lifecycle.pauses), len(world.triton.asked)
    more = [world.submit(i, grey(2), model_key=OLD_MODEL) for i in (12, 13, 14)]
    answers = world.answer(*more)
    assert reasons(answers) == dict.fromkeys((2, 12, 13, 14), MODEL_GONE)
    assert len(world.lifecycle.pauses) == pauses
    assert world.triton.asked[asked:] == [[2, 2, 2]]


def test_a_model_that_comes_back_within_the_grace_answers(world: World) -> None:
    old_model(world)

    def meanwhile(pause: int) -> None:
        world.now_s += 4
        if pause == 7:
            world.triton.failures = {}

    world.lifecycle.meanwhile = meanwhile
    assert reasons(world.answer(world.submit(2, model_key=OLD_MODEL))) == {2: "classified"}
    assert world.states == []


def test_a_triton_that_is_not_ready_says_nothing_of_its_models(world: World) -> None:
    old_model(world)
    world.triton.ready = False

    def meanwhile(pause: int) -> None:
        world.now_s += GRACE_S
        if pause == 10:
            world.triton.failures = {}

    world.lifecycle.meanwhile = meanwhile
    assert reasons(world.answer(world.submit(2, model_key=OLD_MODEL))) == {2: "classified"}
    assert State.OPEN in world.states, "it is away"


def test_a_publisher_that_stops_passes_it_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(_answers: Sequence[Answer], _lease: Lease) -> None:
        raise Stopped("publish")

    monkeypatch.setattr(world.publisher, "publish", publish)
    with pytest.raises(Stopped):
        world.answer(world.submit(1))


def test_the_manifest_of_these_tests_is_one() -> None:
    assert Manifest.from_json(manifest()).preprocessing.size_px == SIZE
