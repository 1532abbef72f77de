"""The embedder: a batch in one request, and the model blamed where the model is at fault."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts import tensors
from contracts.manifest import Manifest, Preprocessing
from dispatcher.absence import Absences, ModelGone
from dispatcher.breaker import BreakerOpen, CircuitBreaker, State
from dispatcher.triton import GREY, Embedder
from runtime.backoff import Backoff
from runtime.errors import Unavailable
from runtime.triton import InferenceFailed, InferenceRejected, ModelUnknown, TritonClient
from standalone.machine.ports import free_port
from standalone.parts.triton_server import TritonServer
from tests.conftest import running
from tests.gateway.waits import until

SIZE, DIM = 8, 4
GRACE_S = 30.0
MANIFEST = Manifest(
    "m", "1", "clip_vit", "3", DIM, 10.0, Preprocessing(SIZE, "bicubic"), "few", "few.npz"
)
PICTURE = np.full((SIZE, SIZE, 3), 7, np.uint8)
OTHER = np.full((SIZE, SIZE, 3), 9, np.uint8)
FAILED = InferenceFailed("broke")
REJECTED = InferenceRejected("inference_rejected", "refused")
NAN = np.full((1, DIM), np.nan, np.float32)


class FakeTriton(TritonClient):
    """Fails with what `failures` says of a request's first picture, else answers with it."""

    def __init__(self, failures: Mapping[int, Exception] | None = None, answer: Any = None) -> None:
        self.failures = failures or {}
        self.answer = answer
        self.asked: list[list[int]] = []
        self.ready = True

    def is_ready(self) -> bool:
        return self.ready

    def infer(self, model: str, version: str, inputs: Mapping[str, Any], output: str) -> Any:
        assert (model, version, output) == ("clip_vit", "3", tensors.IMAGE_OUTPUT)
        batch = inputs[tensors.IMAGE_INPUT]
        levels = [int(picture[0, 0, 0]) for picture in batch]
        self.asked.append(levels)
        for level in levels:
            if level in self.failures:
                raise self.failures[level]
        if self.answer is not None:
            return self.answer
        return np.repeat(batch[:, :1, 0, 0], DIM, axis=1).astype(np.float32)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def embedder(triton: TritonClient, clock: Clock | None = None) -> Embedder:
    breaker = CircuitBreaker(2, Backoff(60.0, 60.0), lambda _state: None)
    return Embedder(triton, breaker, Absences(GRACE_S, clock or Clock()))


def test_a_batch_is_one_request() -> None:
    triton = FakeTriton()
    embeddings = embedder(triton).embed(MANIFEST, [PICTURE, OTHER])
    assert triton.asked == [[7, 9]]
    assert embeddings[:, 0].tolist() == [7.0, 9.0]


@pytest.mark.parametrize("failure", [FAILED, REJECTED], ids=["failed", "rejected"])
def test_a_picture_that_breaks_a_well_model_is_at_fault(failure: Exception) -> None:
    triton = FakeTriton({7: failure})
    with pytest.raises(type(failure)):
        embedder(triton).embed(MANIFEST, [PICTURE])
    assert triton.asked == [[7], [GREY]]


@pytest.mark.parametrize("failure", [FAILED, REJECTED], ids=["failed", "rejected"])
@pytest.mark.parametrize("canary", [FAILED, REJECTED, Unavailable("gone")], ids=repr)
def test_a_model_that_fails_on_the_canary_is_unavailable(
    failure: Exception, canary: Exception
) -> None:
    with pytest.raises(Unavailable):
        embedder(FakeTriton({7: failure, GREY: canary})).embed(MANIFEST, [PICTURE])


@pytest.mark.parametrize(
    "answer",
    [NAN, NAN[:, :2] * 0, np.zeros((2, DIM), np.float32), np.zeros(DIM, np.float32)],
    ids=["nan", "too short", "too many", "no batch"],
)
def test_an_answer_that_cannot_be_one_is_the_models_fault(answer: np.ndarray) -> None:
    with pytest.raises(Unavailable):
        embedder(FakeTriton(answer=answer)).embed(MANIFEST, [PICTURE])


def test_the_breaker_stands_before_triton() -> None:
    triton = FakeTriton({7: Unavailable("down")})
    states: list[State] = []
    breaker = CircuitBreaker(2, Backoff(60.0, 60.0), states.append)
    guarded = Embedder(triton, breaker, Absences(GRACE_S))
    for _ in range(2):
        with pytest.raises(Unavailable):
            guarded.embed(MANIFEST, [PICTURE])
    with pytest.raises(BreakerOpen):
        guarded.embed(MANIFEST, [PICTURE])
    assert len(triton.asked) == 2
    assert states == [State.OPEN]


UNKNOWN = ModelUnknown("unknown model")


def test_an_unknown_version_is_unavailable_until_its_grace_is_over() -> None:
    clock, triton = Clock(), FakeTriton({7: UNKNOWN})
    asking = embedder(triton, clock)
    for _ in range(5):  # more often than the breaker allows
        with pytest.raises(Unavailable, match="version 3 of clip_vit"):
            asking.embed(MANIFEST, [PICTURE])
        clock.now_s += GRACE_S / 5
    with pytest.raises(ModelGone, match="Version 3 of clip_vit is not served any more"):
        asking.embed(MANIFEST, [PICTURE])
    assert asking.embed(MANIFEST, [OTHER]).shape == (1, DIM)


def test_a_triton_that_is_not_ready_starts_the_grace_anew() -> None:
    clock, triton = Clock(), FakeTriton({7: UNKNOWN})
    asking = embedder(triton, clock)
    for is_ready in (True, False, True):
        triton.ready = is_ready
        with pytest.raises(Unavailable):
            asking.embed(MANIFEST, [PICTURE])
        clock.now_s += GRACE_S
    with pytest.raises(ModelGone):
        asking.embed(MANIFEST, [PICTURE])


def test_a_triton_that_was_away_starts_the_grace_anew() -> None:
    clock, triton = Clock(), FakeTriton({7: UNKNOWN})
    asking = embedder(triton, clock)
    for failure in (UNKNOWN, Unavailable("restarting"), UNKNOWN):
        triton.failures = {7: failure}
        with pytest.raises(Unavailable):
            asking.embed(MANIFEST, [PICTURE])
        clock.now_s += GRACE_S / 2
    clock.now_s += GRACE_S / 2
    with pytest.raises(ModelGone):
        asking.embed(MANIFEST, [PICTURE])


def test_an_answer_starts_the_grace_anew() -> None:
    clock, triton = Clock(), FakeTriton({7: UNKNOWN})
    asking = embedder(triton, clock)
    for is_unknown in (True, False, True, True):
        triton.failures = {7: UNKNOWN} if is_unknown else {}
        if is_unknown:
            with pytest.raises(Unavailable):
                asking.embed(MANIFEST, [PICTURE])
        else:
            asking.embed(MANIFEST, [PICTURE])
        clock.now_s += GRACE_S / 3
    with pytest.raises(Unavailable):
        asking.embed(MANIFEST, [PICTURE])


def test_a_model_that_does_not_know_the_canary_is_unknown_too() -> None:
    asking = embedder(FakeTriton({7: FAILED, GREY: UNKNOWN}))
    with pytest.raises(Unavailable, match="version 3 of clip_vit"):
        asking.embed(MANIFEST, [PICTURE])


# A version that is replaced, on a Triton of the test's own

SERVED = replace(
    MANIFEST,
    triton_version="1",
    embedding_dim=384,
    preprocessing=Preprocessing(tensors.IMAGE_SIZE_PX, "bicubic"),
)
REPLACEMENT = replace(SERVED, triton_version="2")
PHOTO = np.full((tensors.IMAGE_SIZE_PX, tensors.IMAGE_SIZE_PX, 3), 90, np.uint8)


@pytest.fixture
def repository(model_repository: Path, tmp_path: Path) -> Path:
    """One that may be changed: the image model alone."""
    copy = tmp_path / "repository"
    shutil.copytree(model_repository / tensors.IMAGE_MODEL, copy / tensors.IMAGE_MODEL)
    return copy


@pytest.fixture
def own_triton(repository: Path, tmp_path: Path) -> Iterator[TritonServer]:
    part = TritonServer(tmp_path, free_port(), free_port(), repository)
    for _ in running(part):
        yield part


def replace_version_1(repository: Path) -> None:
    model = repository / tensors.IMAGE_MODEL
    (model / "1").rename(model / "2")
    configuration = model / "configs" / "cpu.pbtxt"
    text = configuration.read_text()
    assert "versions: [ 1 ]" in text
    configuration.write_text(text.replace("versions: [ 1 ]", "versions: [ 2 ]"))


@pytest.mark.integration
def test_a_version_that_was_replaced_is_gone_and_its_successor_answers(
    own_triton: TritonServer, repository: Path
) -> None:
    states: list[State] = []
    clock, client = Clock(), TritonClient(str(own_triton.address), timeout_s=10)
    breaker = CircuitBreaker(2, Backoff(0.001, 0.001), states.append)
    asking = Embedder(client, breaker, Absences(GRACE_S, clock))
    assert asking.embed(SERVED, [PHOTO]).shape == (1, 384)
    own_triton.stop()
    clock.now_s += 10 * GRACE_S
    with pytest.raises(Unavailable):  # it says nothing of a version
        asking.embed(SERVED, [PHOTO])
    replace_version_1(repository)
    own_triton.start()
    own_triton.wait_ready()
    until(client.is_ready)  # the connection takes its time
    states.clear()
    for _ in range(3):
        with pytest.raises(Unavailable, match="version 1 of clip_vit"):
            asking.embed(SERVED, [PHOTO])
        assert asking.embed(REPLACEMENT, [PHOTO]).shape == (1, 384)
        clock.now_s += GRACE_S / 3
    with pytest.raises(ModelGone, match="Version 1 of clip_vit"):
        asking.embed(SERVED, [PHOTO])
    assert asking.embed(REPLACEMENT, [PHOTO]).shape == (1, 384)
    assert State.OPEN not in states
    client.close()
