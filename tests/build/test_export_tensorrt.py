"""A model of the hub becomes a version that is installed and active; a drifting one does not."""

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from build import export_tensorrt, model_versions
from build.exporting import photos
from contracts.manifest import Manifest
from tests.build.exporting.hub_server import hub_of
from tests.build.exporting.in_export_environment import ROOT, run
from zero_shot import label_set

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("export_python"),
    pytest.mark.timeout(240),
]

SQUASHING = """

def prepare(data, how, _prepare=prepare):
    return _prepare(data, {**how, "resize": "squash"})
"""
ORGANISATION = "some"
MODEL = f"{ORGANISATION}/tiny"
# As it is initialised: int8 bends the embeddings of the spread one further than its gate allows.
INITIALISED = f"{ORGANISATION}/initialised"
FIRST = "2"  # version 1 is the starter's


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    outcome = run("write_tiny", folder / ORGANISATION)
    assert outcome.returncode == 0, outcome.stderr
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("models") / "model_repository"
    shutil.copytree(
        ROOT / "model_repository", copy, ignore=shutil.ignore_patterns("[0-9]*", "__pycache__")
    )
    return copy


def export(
    hub: Path, repository: Path, *arguments: str, model: str = MODEL
) -> subprocess.CompletedProcess[str]:
    command = ["--model", f"hf-hub:{model}", "--output", str(repository), *arguments]
    with hub_of(hub) as address:
        online = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(hub / "cache")}
        return run("export_tiny", *command, environment=online)


@pytest.fixture(scope="module")
def exported(hub: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    outcome = export(hub, repository, "--runtime", "onnx")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome


def test_a_model_of_the_hub_becomes_a_version(
    exported: subprocess.CompletedProcess[str], repository: Path
) -> None:
    manifest = model_versions.installed(repository)[FIRST]
    understood = Manifest.from_json(json.dumps(manifest))
    assert (understood.model, understood.embedding_dim) == (MODEL, 64)
    assert len(understood.templates) == 7
    assert manifest["text"] == {"context_length": 77, "dynamic_length": True}
    assert manifest["made_from"]["architecture"] == f"hf-hub:{MODEL}"
    labels = (repository / "clip_vit" / FIRST / understood.label_set_file).read_bytes()
    matrix = label_set.decode(labels).embeddings
    assert matrix.shape == (998, 64)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)


def test_it_is_active(exported: subprocess.CompletedProcess[str], repository: Path) -> None:
    assert model_versions.served(repository, model_versions.Hardware.CPU) == [FIRST]
    configuration = (repository / "clip_vit" / "configs" / "cpu.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in configuration


def test_the_figures_are_said(exported: subprocess.CompletedProcess[str]) -> None:
    for figure in ("clip_vit", "cosine to open_clip", "same best label", "images/s", "took"):
        assert figure in exported.stdout


def test_versions_are_listed(
    exported: subprocess.CompletedProcess[str],
    repository: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export_tensorrt.main(["--list", "--output", str(repository)]) == 0
    assert "onnx fp32" in (listed := capsys.readouterr().out)
    assert "active on CPU" in listed


def test_an_export_that_drifts_is_not_installed(
    exported: subprocess.CompletedProcess[str], hub: Path, repository: Path, tmp_path: Path
) -> None:
    faulty = tmp_path / "model_repository"
    shutil.copytree(repository, faulty)
    with (faulty / "clip_image" / "model.py").open("a") as code:
        code.write(SQUASHING)
    outcome = export(hub, faulty)
    assert outcome.returncode == 1
    assert "drifts from open_clip, so it is not installed: the least cosine over" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    left = sorted(path.name for path in (faulty / "clip_vit").iterdir())
    assert left == [FIRST, "config.pbtxt", "configs"]


def test_int8_is_calibrated_with_photos_and_held_to_others(
    exported: subprocess.CompletedProcess[str], hub: Path, repository: Path, tmp_path: Path
) -> None:
    write_crops(tmp_path)
    given = ("--precision", "int8", "--calibration", str(tmp_path))
    outcome = export(hub, repository, *given, model=INITIALISED)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    manifest = list(model_versions.installed(repository).values())[-1]
    assert (manifest["precision"], manifest["made_from"]["calibration_photos"]) == ("int8", 8)
    assert manifest["parity"]["photos"]["compared"] == 8 + len(photos.SAMPLE_NAMES)
    assert "16 photos are few" in outcome.stdout
    graph = repository / "clip_vit" / str(manifest["version"]) / "model.xml"
    assert 'element_type="i8"' in graph.read_text()


def write_crops(folder: Path) -> None:
    """Calibration photos: corners of the sample photos."""
    crops = itertools.product(photos.samples(), (0, 1), (0, 1))
    for sample, right, lower in itertools.islice(crops, photos.CALIBRATION_AT_LEAST):
        with Image.open(sample) as image:
            width, height = (each // 2 for each in image.size)
            left, top = right * width, lower * height
            crop = image.convert("RGB").crop((left, top, left + width, top + height))
        crop.save(folder / f"{sample.stem}-{right}-{lower}.png")
