"""A model of the hub becomes a version that is installed and active; a drifting one does not."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from build import export_tensorrt, model_versions
from contracts.manifest import Manifest
from tests.build.exporting.hub_server import hub_of
from tests.build.exporting.in_export_environment import ROOT, needs_export_environment, run
from zero_shot import label_set

pytestmark = [pytest.mark.integration, needs_export_environment, pytest.mark.timeout(240)]

SQUASHING = """

def prepare(data, how, _prepare=prepare):
    return _prepare(data, {**how, "resize": "squash"})
"""
MODEL = "some/tiny"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    outcome = run("write_tiny", folder / MODEL)
    assert outcome.returncode == 0, outcome.stderr
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("models") / "model_repository"
    shutil.copytree(
        ROOT / "model_repository", copy, ignore=shutil.ignore_patterns("[0-9]*", "__pycache__")
    )
    return copy


def export(hub: Path, repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["--model", f"hf-hub:{MODEL}", "--output", str(repository), *arguments]
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
    manifest = model_versions.installed(repository)["1"]
    understood = Manifest.from_json(json.dumps(manifest))
    assert (understood.model, understood.embedding_dim) == (MODEL, 64)
    assert len(understood.templates) == 7
    assert manifest["text"] == {"context_length": 77, "dynamic_length": True}
    assert manifest["made_from"]["architecture"] == f"hf-hub:{MODEL}"
    labels = (repository / "clip_vit" / "1" / understood.label_set_file).read_bytes()
    matrix = label_set.decode(labels).embeddings
    assert matrix.shape == (998, 64)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)


def test_it_is_active(exported: subprocess.CompletedProcess[str], repository: Path) -> None:
    assert model_versions.served(repository, model_versions.Hardware.CPU) == ["1"]
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
    assert left == ["1", "config.pbtxt", "configs"]
