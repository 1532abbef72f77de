"""Prompts: texts come back as embeddings in their order, by few small requests, or not at all."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from contracts.manifest import Manifest, Preprocessing
from gateway.labels.prompts import BATCH, IN_FLIGHT, THREADS, PromptEmbedder, PromptsUnavailable
from runtime.errors import Unavailable
from runtime.triton import InferenceFailed, InferenceRejected
from tests.gateway.labels.prompts import TextModel, direction

DIM = 16
MANIFEST = Manifest(
    model="m", version="7", image_model="clip_vit", triton_version="7", embedding_dim=DIM,
    logit_scale=100.0, preprocessing=Preprocessing(224, "bicubic"), label_set_name="l",
    label_set_file="l.npz", prompt_model="clip_prompt",
)  # fmt: skip


def texts(count: int) -> list[str]:
    return [f"a photo of {number} 猫" for number in range(count)]


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1, 5 * BATCH + 3])
def test_every_text_has_its_row(count: int) -> None:
    model = TextModel(DIM)
    embeddings = PromptEmbedder(model).embed(MANIFEST, texts(count))
    assert np.array_equal(embeddings, [direction(text, DIM) for text in texts(count)])
    assert {(name, version) for name, version, _ in model.requests} == {("clip_prompt", "7")}
    assert max(size for _, _, size in model.requests) <= BATCH
    assert sum(size for _, _, size in model.requests) == count


def test_a_large_set_has_few_requests_in_flight_and_lets_a_small_one_by() -> None:
    def answer(batch: list[str]) -> Any:
        time.sleep(0.01)
        return unit(len(batch))

    model = TextModel(DIM, answer)
    embedder = PromptEmbedder(model)
    large = threading.Thread(target=embedder.embed, args=(MANIFEST, texts(60 * BATCH)))
    large.start()
    time.sleep(0.05)
    embedder.embed(MANIFEST, ["a cat"])
    assert large.is_alive()
    large.join()
    assert IN_FLIGHT <= model.most <= min(IN_FLIGHT + 1, THREADS)


def unit(rows: int, dim: int = DIM) -> Any:
    return np.eye(rows, dim, dtype=np.float32) + np.eye(rows, dim, k=-dim, dtype=np.float32)


def raising(error: Exception) -> Callable[[list[str]], Any]:
    def answer(_texts: list[str]) -> Any:
        raise error

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        raising(Unavailable("away")),
        raising(InferenceFailed("broken")),
        raising(InferenceRejected("inference_rejected", "no such input")),
        lambda batch: unit(len(batch), DIM + 1),
        lambda batch: unit(len(batch) + 1),
        lambda batch: unit(len(batch)) * 1.1,
        lambda batch: unit(len(batch)) * np.nan,
        lambda batch: unit(len(batch)) * 0,
        lambda batch: unit(len(batch)).reshape(-1),
    ],
    ids=["away", "failed", "rejected", "wider", "more", "long", "nan", "zero", "flat"],
)
def test_what_is_no_embedding_never_comes_out(answer: Callable[[list[str]], Any]) -> None:
    with pytest.raises(PromptsUnavailable):
        PromptEmbedder(TextModel(DIM, answer), outlast_s=0).embed(MANIFEST, texts(3))


def test_a_short_fault_is_outlasted() -> None:
    faults = [Unavailable("restarting"), InferenceFailed("once")]

    def answer(batch: list[str]) -> Any:
        if faults:
            raise faults.pop()
        return np.stack([direction(text, DIM) for text in batch])

    embeddings = PromptEmbedder(TextModel(DIM, answer)).embed(MANIFEST, texts(3 * BATCH))
    assert np.array_equal(embeddings, [direction(text, DIM) for text in texts(3 * BATCH)])


def test_after_a_failure_nothing_more_is_asked() -> None:
    model = TextModel(DIM, raising(Unavailable("away")))
    with pytest.raises(PromptsUnavailable):
        PromptEmbedder(model, outlast_s=0).embed(MANIFEST, texts(100 * BATCH))
    time.sleep(0.05)
    assert len(model.requests) <= IN_FLIGHT


def test_a_process_that_stops_does_not_embed_to_the_end() -> None:
    stopping = threading.Event()

    def answer(batch: list[str]) -> Any:
        stopping.set()
        return np.stack([direction(text, DIM) for text in batch])

    model = TextModel(DIM, answer)
    with pytest.raises(PromptsUnavailable, match="stopping"):
        PromptEmbedder(model, stopping.is_set).embed(MANIFEST, texts(100 * BATCH))
    assert len(model.requests) <= IN_FLIGHT
