"""Versions in a real Triton: side by side, exchanged under load, rolled back, and a broken one."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from build import model_versions
from build.model_versions import MODELS, Activation
from contracts.tensors import BYTES_MODEL, IMAGE_MODEL, PROMPT_MODEL, TEXT_MODEL
from standalone.machine.ports import free_port
from standalone.parts.triton_server import ENVIRONMENT, TritonServer
from tests import photos
from tests.build.parity_inputs import pictures
from tests.model_repository.clients import Models, cosines, ids, ones

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
TOWERS = (IMAGE_MODEL, TEXT_MODEL)
ALIKE = 0.998  # bfloat16 against itself in another batch, or against float32
PHOTO, TEXT = photos.jpeg(500, 375), "a photo of a cat"


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory, model_repository: Path) -> Path:
    out = tmp_path_factory.mktemp("variants")
    python = ENVIRONMENT / "bin" / "python"
    command = [
        str(python),
        "-m",
        "tests.model_repository.variants",
        str(model_repository),
        str(out),
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    return out


@pytest.fixture
def repository(tmp_path: Path, model_repository: Path) -> Path:
    return Path(shutil.copytree(model_repository, tmp_path / "model_repository"))


@pytest.fixture
def start(tmp_path: Path, repository: Path) -> Iterator[Callable[[], Models]]:
    servers: list[TritonServer] = []
    clients: list[Models] = []

    def started() -> Models:
        server = TritonServer(tmp_path, free_port(), free_port(), repository)
        servers.append(server)
        server.start()
        server.wait_ready()
        clients.append(Models(server))
        return clients[-1]

    yield started
    for client in clients:
        client.client.close()
    for server in servers:
        server.kill()


def install(
    repository: Path, version: str, variant: Path, runtime: str = "openvino", **different: Any
) -> None:
    """A version with the towers of a variant, and all else of the starter."""
    starter = repository / IMAGE_MODEL / "1"
    manifest = json.loads((starter / "manifest.json").read_text())
    del manifest[model_versions.FILES_FIELD]
    files: dict[str, dict[str, bytes | Path]] = {
        model: {path.name: path for path in (variant / model).iterdir()} for model in TOWERS
    }
    files[IMAGE_MODEL]["label_sets/imagenet-1k.npz"] = starter / "label_sets" / "imagenet-1k.npz"
    files[TEXT_MODEL]["tokenizer.json"] = repository / TEXT_MODEL / "1" / "tokenizer.json"
    facts = {**manifest, "model": variant.name, "version": version, "runtime": runtime, **different}
    model_versions.install(repository, version, files, facts)


def take_over(models: Models, activation: Activation) -> None:
    for model in activation.load_order:
        models.client.load_model(model)


def answers(models: Models, version: str = "") -> dict[str, Any]:
    return {
        IMAGE_MODEL: models.images(pictures(), version),
        TEXT_MODEL: models.texts(ids(2, 6), ones(2, 6), version),
        BYTES_MODEL: models.encoded([PHOTO], version),
        PROMPT_MODEL: models.prompts([TEXT], version),
    }


def likeness(left: dict[str, Any], right: dict[str, Any]) -> dict[str, float]:
    return {model: round(float(cosines(left[model], right[model]).min()), 2) for model in MODELS}


ALL_ALIKE = dict.fromkeys(MODELS, 1.0)
ALL_OPPOSITE = dict.fromkeys(MODELS, -1.0)


def test_two_versions_answer_each_with_its_own_towers(
    repository: Path, variants: Path, start: Callable[[], Models]
) -> None:
    install(repository, "2", variants / "negated")
    assert model_versions.activate(repository, "2").served == ["1", "2"]
    models = start()
    first, second = answers(models, "1"), answers(models, "2")
    assert likeness(first, second) == ALL_OPPOSITE
    assert likeness(answers(models), second) == ALL_ALIKE
    for model in MODELS:
        assert models.client.get_model_metadata(model).versions == ["1", "2"]


class Load:
    """Callers of all four models, until told to stop; what they were answered or refused."""

    def __init__(self, models: Models) -> None:
        self.cosines: list[float] = []
        self.failures: list[Exception] = []
        self._over = threading.Event()
        self._right = answers(models)
        calls: dict[str, Callable[[], Any]] = {
            IMAGE_MODEL: lambda: models.images(pictures()),
            TEXT_MODEL: lambda: models.texts(ids(2, 6), ones(2, 6)),
            BYTES_MODEL: lambda: models.encoded([PHOTO]),
            PROMPT_MODEL: lambda: models.prompts([TEXT]),
        }
        self._threads = [threading.Thread(target=self._call, args=pair) for pair in calls.items()]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, model: str, call: Callable[[], Any]) -> None:
        while not self._over.is_set():
            try:
                self.cosines.append(float(cosines(call(), self._right[model]).min()))
            except InferenceServerException as exc:
                self.failures.append(exc)


def test_under_load_a_new_version_takes_over_and_is_rolled_back_without_a_failed_request(
    repository: Path, variants: Path, start: Callable[[], Models]
) -> None:
    models = start()
    with Load(models) as load:
        install(repository, "2", variants / "negated")
        take_over(models, model_versions.activate(repository, "2"))
        up = len(load.cosines)
        second = answers(models)
        back = model_versions.activate(repository, "1")
        take_over(models, back)
    assert (back.served, back.dropped) == (["1"], ["2"])
    assert load.failures == []
    assert all(abs(cosine) > ALIKE for cosine in load.cosines)
    assert min(load.cosines[:up]) < 0 < max(load.cosines)
    assert likeness(answers(models), second) == ALL_OPPOSITE
    with pytest.raises(InferenceServerException, match="version"):
        models.images(pictures(), "2")


def test_a_version_that_cannot_load_leaves_the_old_one_serving(
    repository: Path, variants: Path, start: Callable[[], Models]
) -> None:
    models = start()
    before = answers(models)
    install(repository, "2", variants / "broken")
    with pytest.raises(InferenceServerException, match=r"version 2 is at UNAVAILABLE state"):
        take_over(models, model_versions.activate(repository, "2"))
    assert likeness(answers(models), before) == ALL_ALIKE
    assert not models.client.is_server_ready()  # so that somebody looks

    take_over(models, model_versions.activate(repository, "1"))
    assert likeness(answers(models), before) == ALL_ALIKE


@pytest.mark.parametrize(("variant", "runtime"), [("ir", "openvino"), ("negated", "onnx")])
def test_other_files_and_runtimes_are_served_in_place_of_the_starter(
    repository: Path, variants: Path, start: Callable[[], Models], variant: str, runtime: str
) -> None:
    models = start()
    before = answers(models)
    install(repository, "2", variants / variant, runtime)
    activation = model_versions.activate(repository, "2")
    assert (activation.served, activation.dropped) == (["2"], ["1"])
    take_over(models, activation)
    assert likeness(answers(models), before) == (ALL_OPPOSITE if runtime == "onnx" else ALL_ALIKE)


def test_texts_are_padded_and_cut_as_the_manifest_says_whatever_the_tokenizer_does(
    repository: Path, variants: Path, start: Callable[[], Models]
) -> None:
    path = repository / TEXT_MODEL / "1" / "tokenizer.json"
    bare = {**json.loads(path.read_text()), "padding": None, "truncation": None}
    path.write_text(json.dumps(bare))
    install(repository, "2", variants / "ir", text={"context_length": 16, "dynamic_length": False})
    model_versions.activate(repository, "2")
    models = start()
    for text, tokens in (("cat " * 100, [101, *[4937] * 14, 102]), ("cat", [101, 4937, 102])):
        row = np.array([tokens + [0] * (16 - len(tokens))], np.int64)
        right = models.texts(row, (row > 0).astype(np.int64))
        assert cosines(models.prompts([text]), right).item() > ALIKE


def test_onnx_runtime_refuses_what_does_not_fit_and_serves_the_next(
    repository: Path, variants: Path, start: Callable[[], Models]
) -> None:
    install(repository, "2", variants / "negated", "onnx")
    model_versions.activate(repository, "2")
    models = start()
    right = models.texts(ids(2, 8), ones(2, 8))
    for length, mask_length in ((8, 9), (513, 513)):
        with pytest.raises(InferenceServerException, match="cannot take these shapes") as refusal:
            models.texts(ids(2, length), ones(2, mask_length))
        assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"
    np.testing.assert_allclose(models.texts(ids(2, 8), ones(2, 8)), right, atol=1e-5)
