"""The CPU configurations in a real Triton: the contract it answers with, batches, refusals, deaths.

The same embeddings as the bare engine gives are asked for in tests/build.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from build.model_versions import MODELS
from contracts.tensors import (
    BYTES_INPUT,
    BYTES_MODEL,
    BYTES_OUTPUT,
    IMAGE_INPUT,
    IMAGE_MODEL,
    IMAGE_OUTPUT,
    MAX_BATCH_SIZE,
    PROMPT_INPUT,
    PROMPT_MODEL,
    PROMPT_OUTPUT,
    TEXT_ATTENTION_MASK,
    TEXT_INPUT_IDS,
    TEXT_MODEL,
    TEXT_OUTPUT,
)
from standalone.machine.ports import free_port
from standalone.parts.triton_memory import SHARED_MEMORY, shared_memory_prefix
from standalone.parts.triton_server import TritonServer
from tests.build.parity_inputs import pictures
from tests.model_repository.clients import PATIENCE_S, Models, at_once, ids, ones

pytestmark = pytest.mark.integration

STUB = "triton_python_backend_stub"
POLL_INTERVAL_S = 0.05
REQUESTS_AT_ONCE = 24
LONE_REQUESTS = 1000
STALL_S = 0.4


@pytest.fixture
def own_triton(tmp_path: Path, model_repository: Path) -> Iterator[TritonServer]:
    """One that a test may kill."""
    server = TritonServer(tmp_path, free_port(), free_port(), model_repository)
    server.start()
    server.wait_ready()
    yield server
    server.kill()


@pytest.mark.parametrize(
    ("model", "inputs", "output"),
    [
        (IMAGE_MODEL, {IMAGE_INPUT: ("UINT8", [-1, 224, 224, 3])}, (IMAGE_OUTPUT, "FP32")),
        (BYTES_MODEL, {BYTES_INPUT: ("BYTES", [-1, 1])}, (BYTES_OUTPUT, "FP32")),
        (PROMPT_MODEL, {PROMPT_INPUT: ("BYTES", [-1, 1])}, (PROMPT_OUTPUT, "FP32")),
        (
            TEXT_MODEL,
            {TEXT_INPUT_IDS: ("INT64", [-1, -1]), TEXT_ATTENTION_MASK: ("INT64", [-1, -1])},
            (TEXT_OUTPUT, "FP32"),
        ),
    ],
)
def test_triton_answers_with_the_contract(
    models: Models, model: str, inputs: dict[str, Any], output: tuple[str, str]
) -> None:
    metadata = models.client.get_model_metadata(model)
    assert {t.name: (t.datatype, list(t.shape)) for t in metadata.inputs} == inputs
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [(*output, [-1, 384])]
    config = models.client.get_model_config(model).config
    assert config.max_batch_size == MAX_BATCH_SIZE
    assert config.HasField("dynamic_batching")
    assert list(config.version_policy.specific.versions) == [1]


def test_image_embeddings_are_of_unit_length_and_differ(models: Models) -> None:
    embeddings = models.images(pictures())
    assert embeddings.shape == (5, 384)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-4)
    assert (embeddings @ embeddings.T - np.eye(5)).max() < 0.998


def test_text_embeddings_are_of_unit_length_and_padding_changes_nothing(models: Models) -> None:
    alone = models.texts(ids(3, 6), ones(3, 6))
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-4)
    padded_ids = np.pad(ids(3, 6), ((0, 0), (0, 10)))
    padded = models.texts(padded_ids, np.pad(ones(3, 6), ((0, 0), (0, 10))))
    assert (alone * padded).sum(axis=1).min() > 0.999


def test_a_full_batch_is_served(models: Models) -> None:
    pixels = np.repeat(pictures(), 13, axis=0)[:MAX_BATCH_SIZE]
    assert models.images(pixels).shape == (MAX_BATCH_SIZE, 384)


def test_requests_that_come_together_are_computed_together(models: Models) -> None:
    alone = np.concatenate([models.images(pictures()[n : n + 1]) for n in range(5)])
    before = models.batch_sizes(IMAGE_MODEL)
    numbers = [n % 5 for n in range(REQUESTS_AT_ONCE)]

    answers = at_once([partial(models.images, pictures()[n : n + 1]) for n in numbers])

    after = models.batch_sizes(IMAGE_MODEL)
    inferences = {size: count - before.get(size, 0) for size, count in after.items()}
    assert sum(inferences.values()) < REQUESTS_AT_ONCE
    assert sum(size * count for size, count in inferences.items()) == REQUESTS_AT_ONCE
    for number, answer in zip(numbers, answers, strict=True):  # each got its own answer
        likeness = (alone @ answer.T)[:, 0]
        assert likeness.argmax() == number
        assert likeness[number] > 0.999


def test_no_lone_request_waits_for_the_batcher_to_wake(models: Models) -> None:
    """With a queue policy in the configuration, 1 in 250 took half a second longer."""
    took_s = []
    for _ in range(LONE_REQUESTS):
        started = time.perf_counter()
        models.texts(ids(1, 2), ones(1, 2))
        took_s.append(time.perf_counter() - started)
    assert sum(took > STALL_S for took in took_s) <= 1  # one may be the machine's


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((1, 223, 224, 3), np.uint8), id="too small"),
        pytest.param(np.zeros((1, 3, 224, 224), np.uint8), id="channels first"),
        pytest.param(np.zeros((224, 224, 3), np.uint8), id="no batch"),
        pytest.param(np.zeros((0, 224, 224, 3), np.uint8), id="no picture"),
        pytest.param(np.zeros((MAX_BATCH_SIZE + 1, 224, 224, 3), np.uint8), id="too many"),
        pytest.param(np.zeros((1, 224, 224, 3), np.float32), id="wrong type"),
    ],
)
def test_pixels_outside_the_contract_are_refused_and_the_next_are_served(
    models: Models, pixels: NDArray[Any]
) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        models.images(pixels)
    assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert models.images(pictures()[:1]).shape == (1, 384)


@pytest.mark.parametrize(
    ("length", "mask_length", "reason"),
    [
        pytest.param(8, 9, r"input_ids \[8\], attention_mask \[9\]", id="mask of another length"),
        pytest.param(513, 513, r"input_ids \[513\]", id="longer than the model's positions"),
    ],
)
def test_tokens_the_model_cannot_take_are_refused_and_the_next_are_right(
    models: Models, length: int, mask_length: int, reason: str
) -> None:
    right = models.texts(ids(2, 8), ones(2, 8))
    for _ in range(2):  # twice: a failed inference must leave nothing behind
        with pytest.raises(InferenceServerException, match=reason) as refusal:
            models.texts(ids(2, length), ones(2, mask_length))
        assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"
    np.testing.assert_array_equal(models.texts(ids(2, 8), ones(2, 8)), right)


def test_odd_values_give_numbers_not_a_crash(models: Models) -> None:
    for odd in (-1, 30_522, 2**40):
        assert np.isfinite(models.texts(np.full((1, 4), odd), ones(1, 4))).all()
    assert np.isfinite(models.texts(ids(1, 4), ones(1, 4) * 0)).all()
    assert models.images(pictures()[:1]).shape == (1, 384)


def test_a_request_that_fails_takes_no_other_with_it(models: Models) -> None:
    right = models.texts(ids(1, 8), ones(1, 8))
    bad = [n % 4 == 0 for n in range(REQUESTS_AT_ONCE)]
    outcomes = at_once([partial(models.texts, ids(1, 8), ones(1, 8 + is_bad)) for is_bad in bad])
    for is_bad, outcome in zip(bad, outcomes, strict=True):
        if is_bad:
            assert isinstance(outcome, InferenceServerException)
        else:
            assert (outcome @ right.T).item() > 0.999


def stubs_of(server_pid: int) -> list[int]:
    threads = Path(f"/proc/{server_pid}/task").iterdir()
    children = [pid for thread in threads for pid in (thread / "children").read_text().split()]
    return [pid for pid in map(int, children) if STUB in Path(f"/proc/{pid}/cmdline").read_text()]


def model_of(stub: int) -> str:
    """The stub's command line names its model's instance: clip_vit_0_0."""
    command = Path(f"/proc/{stub}/cmdline").read_text()
    return next(model for model in MODELS if f"{model}_" in command)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(POLL_INTERVAL_S)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_killed_it_takes_its_stubs_along_and_starts_again(own_triton: TritonServer) -> None:
    pid = own_triton.pid
    assert pid
    stubs = stubs_of(pid)
    assert sorted(map(model_of, stubs)) == sorted(MODELS)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: own_triton.exit_code() is not None)
    wait_until(lambda: all(map(is_gone, stubs)))

    own_triton.start()
    own_triton.wait_ready()

    models = Models(own_triton)
    assert models.images(pictures()).shape == (5, 384)
    models.client.close()


@pytest.mark.parametrize("model", MODELS)
def test_a_killed_stub_takes_the_server_along(own_triton: TritonServer, model: str) -> None:
    """Triton would stay "ready" without it and fail every request."""
    pid = own_triton.pid
    assert pid
    stub = next(stub for stub in stubs_of(pid) if model_of(stub) == model)
    os.kill(stub, signal.SIGKILL)
    wait_until(lambda: own_triton.exit_code() is not None)


def test_stopped_it_leaves_no_process_and_no_shared_memory(
    own_triton: TritonServer, tmp_path: Path
) -> None:
    pid, prefix = own_triton.pid, shared_memory_prefix(tmp_path)
    assert pid
    stubs = stubs_of(pid)
    assert list(SHARED_MEMORY.glob(f"{prefix}*"))
    own_triton.stop()
    assert all(map(is_gone, [pid, *stubs]))
    assert list(SHARED_MEMORY.glob(f"{prefix}*")) == []
