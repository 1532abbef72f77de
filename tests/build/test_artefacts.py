"""A model version is replaced whole or not at all, and built again only when something changed."""

import json
from pathlib import Path

import pytest

from build.starter import artefacts

MANIFEST = {"model": "m", artefacts.DIGEST_FIELD: "d1"}


@pytest.fixture
def version(tmp_path: Path) -> Path:
    version = tmp_path / "model" / "1"
    artefacts.install(version, {"model.onnx": b"old", "sets/a.npz": b"labels"}, MANIFEST)
    return version


def test_files_and_manifest_are_installed(version: Path) -> None:
    assert (version / "model.onnx").read_bytes() == b"old"
    assert (version / "sets" / "a.npz").read_bytes() == b"labels"
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest == {**MANIFEST, "files_bytes": {"model.onnx": 3, "sets/a.npz": 6}}


def test_a_new_version_takes_the_place_of_all_of_the_old_one(version: Path) -> None:
    artefacts.install(version, {"model.onnx": b"new"}, MANIFEST)
    assert (version / "model.onnx").read_bytes() == b"new"
    assert not (version / "sets").exists()
    assert [path.name for path in version.parent.iterdir()] == ["1"]


def test_a_build_that_fails_leaves_the_old_version_and_the_next_one_succeeds(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(path: Path, content: bytes) -> None:
        if path.name == "b":
            raise OSError(28, "No space left on device")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(artefacts, "_write_through", disk_full)
        artefacts.install(version, {"a": b"", "b": b""}, MANIFEST)
    assert (version / "model.onnx").read_bytes() == b"old"

    artefacts.install(version, {"model.onnx": b"new"}, MANIFEST)
    assert sorted(path.name for path in version.iterdir()) == ["manifest.json", "model.onnx"]


def test_a_version_is_current_while_its_inputs_and_its_files_are_the_same(version: Path) -> None:
    assert artefacts.is_current(version, "d1")
    assert not artefacts.is_current(version, "d2")
    (version / "model.onnx").write_bytes(b"ol")
    assert not artefacts.is_current(version, "d1")


@pytest.mark.parametrize("manifest", ["", "{}", "[]", None])
def test_a_version_without_a_readable_manifest_is_not_current(
    version: Path, manifest: str | None
) -> None:
    (version / "manifest.json").unlink()
    if manifest is not None:
        (version / "manifest.json").write_text(manifest)
    assert not artefacts.is_current(version, "d1")


def test_the_digest_follows_facts_and_contents(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    first = artefacts.digest_of([file], {"scale": 1})
    assert artefacts.digest_of([file], {"scale": 1}) == first
    assert artefacts.digest_of([file], {"scale": 2}) != first
    file.write_bytes(b"2")
    assert artefacts.digest_of([file], {"scale": 1}) != first
