"""What is active is served, whatever else is installed; a wish for another says how to get it."""

import json
import shutil
from pathlib import Path

import pytest

from build import model_versions
from build.model_versions import MODELS, REPOSITORY, Hardware
from standalone.parts.model_choice import choose, needs_starter
from standalone.processes.steps import StartError
from tests.contracts.test_manifest import GOOD

ACTIVE = "active"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The tracked configurations, with nothing installed."""
    for model in MODELS:
        (tmp_path / model / "configs").mkdir(parents=True)
        for hardware in Hardware:
            shutil.copy(REPOSITORY / model / hardware.value, tmp_path / model / hardware.value)
    return tmp_path


def install(repository: Path, model: str) -> str:
    is_starter = model == "starter"
    version = model_versions.STARTER if is_starter else model_versions.next_version(repository)
    files = {"clip_vit": {"model.onnx": b"v"}, "clip_text": {"model.onnx": b"t"}}
    files["clip_text"]["tokenizer.json"] = json.dumps({}).encode()
    manifest = {**GOOD, "model": model, "version": version, "runtime": "openvino"}
    text = {"context_length": 77, "dynamic_length": True}
    model_versions.install(repository, version, files, {**manifest, "text": text})
    return version


def test_a_bare_clone_needs_the_starter(repository: Path) -> None:
    assert needs_starter(repository)
    install(repository, "starter")
    assert needs_starter(repository)  # it may be out of date
    chosen = choose(repository, ACTIVE)
    assert (chosen.model, chosen.version) == ("starter", "1")
    assert chosen.folder == repository / "clip_vit" / "1"


def test_what_is_active_is_served(repository: Path) -> None:
    install(repository, "starter")
    model_versions.activate(repository, install(repository, "ViT-B-32"))
    install(repository, "ViT-L-14")
    assert not needs_starter(repository)
    assert choose(repository, ACTIVE).folder == repository / "clip_vit" / "2"
    assert choose(repository, "ViT-B-32").version == "2"


def test_an_export_into_a_bare_clone_is_left_alone(repository: Path) -> None:
    version = install(repository, "ViT-B-32")
    model_versions.activate(repository, version)
    assert not needs_starter(repository)
    assert choose(repository, ACTIVE).model == "ViT-B-32"


def test_a_model_that_is_installed_is_to_be_activated(repository: Path) -> None:
    install(repository, "starter")
    install(repository, "ViT-B-32")
    with pytest.raises(StartError, match=r"version 1, starter, is.*--activate-version 2$"):
        choose(repository, "ViT-B-32")


def test_a_model_that_is_not_installed_is_to_be_made(repository: Path) -> None:
    install(repository, "starter")
    with pytest.raises(StartError, match=r"make model MODEL=ViT-H-14$"):
        choose(repository, "ViT-H-14")


def test_an_active_version_that_was_removed_lets_the_starter_stand_in(repository: Path) -> None:
    install(repository, "starter")
    model_versions.activate(repository, install(repository, "ViT-B-32"))
    shutil.rmtree(repository / "clip_text" / "2")
    assert needs_starter(repository)
    with pytest.raises(StartError, match="Version 2"):
        choose(repository, ACTIVE)


def test_a_configuration_without_a_version_is_named(repository: Path) -> None:
    (repository / "clip_vit" / "configs" / "cpu.pbtxt").write_text('name: "clip_vit"\n')
    with pytest.raises(StartError, match=r"clip_vit/configs/cpu.pbtxt"):
        choose(repository, ACTIVE)
