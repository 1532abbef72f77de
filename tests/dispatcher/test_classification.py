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

from contracts.events import ImageClassified, ImageFailed, ImageSubmitted, message_key
from contracts.manifest import Manifest, Preprocessing
from dispatcher.artefacts import Artefacts
from dispatcher.breaker import CircuitBreaker, State
from dispatcher.classification import Classifier, RetryRules
from dispatcher.preprocessing import Pixels, prepare
from dispatcher.publisher import Answer, Publisher
from dispatcher.triton import Embedder
from runtime.backoff import Backoff
from runtime.errors import ObjectNotFound, Retryable, Unavailable
from runtime.lifecycle import Lifecycle, Stopped
from runtime.objects import ObjectStore
from runtime.triton import InferenceFailed, InferenceRejected
from tests import photos
from tests.contracts.test_manifest import GOOD
from tests.dispatcher.test_triton import FakeTriton

MODEL, LABELS, OTHER_LABELS = "models/m.json", "label-sets/l.npz", "label-sets/other.npz"
MAX_ATTEMPTS = 3
SIZE, DIM = 8, 2
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
    """A dictionary; `failures` of a key are raised first, one a call."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.failures: dict[str, list[Exception]] = {}
        self.gets: list[str] = []

    def get(self, key: str) -> bytes:
        self.gets.append(key)
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

    def publish(self, answers: Sequence[Answer]) -> None:
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
        self.objects = FakeObjects({MODEL: manifest(), LABELS: npz(DIM), OTHER_LABELS: npz(DIM)})
        self.triton = FakeEmbeddings()
        self.publisher = FakePublisher()
        self.lifecycle = FakeLifecycle()
        self.states: list[State] = []
        self.now_s = 0.0
        breaker = CircuitBreaker(
            2, Backoff(1.0, 1.0, lambda: 1.0), self.states.append, lambda: self.now_s
        )
        self.classifier = Classifier(
            objects=self.objects,
            artefacts=Artefacts(self.objects),
            embedder=Embedder(self.triton, breaker),
            publisher=self.publisher,
            decoders=decoders,
            lifecycle=self.lifecycle,
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
        self.classifier.answer(records)
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


def test_a_batch_is_one_request_and_one_publication(world: World) -> None:
    answers = world.answer(*(world.submit(image_id) for image_id in (1, 2, 3)))
    assert world.triton.asked == [[1, 2, 3]]
    assert len(world.publisher.batches) == 1
    assert list(answers) == [1, 2, 3]
    first = answers[1]
    assert isinstance(first, ImageClassified)
    assert (first.scores[0].label, first.label_set, first.model) == ("cat", "few", "starter")
    assert (first.model_version, first.trace_id) == ("3", "ab" * 16)
    assert world.lifecycle.pauses == []


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param({"data": b"no picture"}, "undecodable_image", id="undecodable"),
        pytest.param({"model_key": "models/none"}, "object_not_found", id="no model"),
        pytest.param({"label_set_key": "label-sets/none"}, "object_not_found", id="no labels"),
        pytest.param({"model_key": LABELS}, "bad_manifest", id="bad manifest"),
        pytest.param({"label_set_key": MODEL}, "bad_label_set", id="bad labels"),
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
    assert failed.attempts == 1
    assert failed.detail.endswith(".")
    assert world.lifecycle.pauses == []


def test_an_image_whose_object_is_gone_fails(world: World) -> None:
    records = [world.submit(1), world.submit(2)]
    del world.objects.objects["images/2"]
    assert reasons(world.answer(*records)) == {1: "classified", 2: "object_not_found"}


def test_labels_of_another_model_fail_their_image_alone(world: World) -> None:
    world.objects.objects["label-sets/wide.npz"] = npz(DIM + 1)
    wide = world.submit(2, label_set_key="label-sets/wide.npz")
    assert reasons(world.answer(world.submit(1), wide)) == {1: "classified", 2: "bad_label_set"}


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


@pytest.mark.parametrize("away", ["images/2", MODEL, LABELS])
def test_a_store_that_is_away_is_asked_again(world: World, away: str) -> None:
    world.objects.failures[away] = [Unavailable("away")] * (MAX_ATTEMPTS * 4)
    answers = world.answer(world.submit(1), world.submit(2))
    assert reasons(answers) == {1: "classified", 2: "classified"}
    assert world.lifecycle.pauses


def test_neighbours_do_not_wait_for_one_that_is_set_aside(world: World) -> None:
    world.objects.failures["images/2"] = [Unavailable("slow")]
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


@pytest.mark.parametrize("fault", [Unavailable("away"), Retryable("busy")], ids=repr)
def test_a_stop_answers_what_it_can_and_raises_for_the_rest(world: World, fault: Exception) -> None:
    world.objects.failures["images/2"] = [fault] * 100
    world.lifecycle.meanwhile = lambda _pause: world.lifecycle.stop()
    with pytest.raises(Stopped):
        world.answer(world.submit(1), world.submit(2))
    assert reasons(world.publisher.answers) == {1: "classified"}


def test_a_publisher_that_stops_passes_it_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(_answers: Sequence[Answer]) -> None:
        raise Stopped("publish")

    monkeypatch.setattr(world.publisher, "publish", publish)
    with pytest.raises(Stopped):
        world.answer(world.submit(1))


def test_the_manifest_of_these_tests_is_one() -> None:
    assert Manifest.from_json(manifest()).preprocessing.size_px == SIZE
