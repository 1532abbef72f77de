"""clip_prompt: what it tokenises is what the tower was made for, and a bad text fails alone."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from contracts.tensors import MAX_BATCH_SIZE
from tests.model_repository.clients import Models, at_once, cosines

pytestmark = pytest.mark.integration

# MiniLM's own ids: [CLS] a photo of a cat [SEP], and so on.
TOKENS = {
    "a photo of a cat": [101, 1037, 6302, 1997, 1037, 4937, 102],
    "Two dogs": [101, 2048, 6077, 102],
    "naïve café, 30 km": [101, 15743, 7668, 1010, 2382, 2463, 102],
}
LONG = "cat " * 1000
CONTEXT_LENGTH = 256
BAD = {
    "empty": (b"", "it is empty"),
    "blank": (b" \n\t", "it is empty"),
    "not UTF-8": (b"caf\xe9 noir", "it is not UTF-8 (invalid continuation byte at byte 3)"),
    "too long": (b"x" * 10_001, "it has 10,001 bytes, and at most 10,000 are read"),
}


def row(tokens: list[int]) -> np.ndarray:
    return np.array([tokens], np.int64)


@pytest.mark.parametrize("text", TOKENS)
def test_a_text_has_the_embedding_of_its_tokens(models: Models, text: str) -> None:
    ids = row(TOKENS[text])
    tower = models.texts(ids, np.ones_like(ids))
    np.testing.assert_array_equal(models.prompts([text]), tower)


def test_texts_of_different_lengths_are_padded_and_masked(models: Models) -> None:
    alone = np.concatenate([models.prompts([text]) for text in TOKENS])
    together = models.prompts(list(TOKENS))
    assert cosines(alone, together).min() > 0.999
    assert (together @ together.T - np.eye(3)).max() < 0.95


def test_a_long_text_is_cut_and_keeps_its_end_token(models: Models) -> None:
    ids = row([101, *[4937] * (CONTEXT_LENGTH - 2), 102])
    tower = models.texts(ids, np.ones_like(ids))
    np.testing.assert_array_equal(models.prompts([LONG]), tower)


def test_a_full_batch_is_served(models: Models) -> None:
    texts = [f"a photo of {n} cats" for n in range(MAX_BATCH_SIZE)]
    answer = models.prompts(texts)
    np.testing.assert_allclose(np.linalg.norm(answer, axis=1), 1, atol=1e-4)
    assert cosines(models.prompts(texts[40:41]), answer[40:41]).item() > 0.999


@pytest.mark.parametrize("name", BAD)
def test_a_bad_text_is_named_by_its_place(models: Models, name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(InferenceServerException) as refusal:
        models.prompts(["a cat", data])
    assert f"text 1: {reason}" in str(refusal.value)
    assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_bad_text_takes_no_other_request_with_it(models: Models) -> None:
    right = models.prompts(["a cat"])
    texts = ["" if n % 4 == 0 else "a cat" for n in range(24)]
    outcomes = at_once([partial(models.prompts, [text]) for text in texts])
    for text, outcome in zip(texts, outcomes, strict=True):
        if text:
            assert cosines(outcome, right).item() > 0.999
        else:
            assert isinstance(outcome, InferenceServerException)


def test_the_code_that_is_served_is_the_tracked_one(model_repository: Path) -> None:
    for model in ("clip_image", "clip_prompt"):
        folder = model_repository / model
        assert (folder / "1" / "model.py").read_bytes() == (folder / "model.py").read_bytes()
