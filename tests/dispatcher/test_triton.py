"""The embedder: a batch in one request, and the model blamed where the model is at fault."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from contracts import tensors
from contracts.manifest import Manifest, Preprocessing
from dispatcher.breaker import BreakerOpen, CircuitBreaker, State
from dispatcher.triton import GREY, Embedder
from runtime.backoff import Backoff
from runtime.errors import Unavailable
from runtime.triton import InferenceFailed, InferenceRejected, TritonClient

SIZE, DIM = 8, 4
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


def embedder(triton: TritonClient) -> Embedder:
    return Embedder(triton, CircuitBreaker(2, Backoff(60.0, 60.0), lambda _state: None))


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
    guarded = Embedder(triton, CircuitBreaker(2, Backoff(60.0, 60.0), states.append))
    for _ in range(2):
        with pytest.raises(Unavailable):
            guarded.embed(MANIFEST, [PICTURE])
    with pytest.raises(BreakerOpen):
        guarded.embed(MANIFEST, [PICTURE])
    assert len(triton.asked) == 2
    assert states == [State.OPEN]
