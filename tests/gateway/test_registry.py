"""Registry: a model is registered once, the newest is active, none at all is said plainly."""

import json
from pathlib import Path

import pytest

from contracts.manifest import ManifestError
from gateway import registry as registry_module
from gateway.database import Database
from gateway.registry import ActiveModel, Manifests, Registry, register
from runtime.errors import Unavailable
from runtime.objects import ObjectStore
from tests.gateway import rows

pytestmark = pytest.mark.integration

MANIFEST = {
    "schema": 1,
    "model": "starter",
    "version": "1",
    "image_model": "clip_vit",
    "text_model": "clip_text",
    "triton_version": "1",
    "embedding_dim": 384,
    "logit_scale": 100.0,
    "preprocessing": {
        "size_px": 224, "resize": "shortest", "interpolation": "bicubic", "crop": "center",
        "color": "RGB",
    },
    "default_label_set": {"name": "imagenet-1k", "file": "labels.npz"},
}  # fmt: skip


def exported(folder: Path, version: str = "1", labels: bytes = b"labels") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, "version": version}))
    (folder / "labels.npz").write_bytes(labels)
    return folder


def test_a_registered_model_is_active_and_its_artefacts_are_stored(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    folder = exported(tmp_path / "m")
    registered = register(database, objects, folder)
    assert Registry(database).active() == registered
    assert objects.get(registered.manifest_key) == (folder / "manifest.json").read_bytes()
    assert objects.get(registered.label_set_key) == b"labels"
    assert registered.label_set == "imagenet-1k"


def test_registering_again_changes_nothing(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    first = register(database, objects, exported(tmp_path / "m"))
    assert register(database, objects, tmp_path / "m") == first
    assert rows.value(database, "SELECT count(*) FROM models") == 1


def test_the_last_registered_is_active_also_when_it_was_there_before(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    old = register(database, objects, exported(tmp_path / "old", "1"))
    new = register(database, objects, exported(tmp_path / "new", "2"))
    assert Registry(database).active() == new != old
    register(database, objects, tmp_path / "old")
    assert Registry(database).active() == old
    assert rows.value(database, "SELECT count(*) FROM models WHERE active") == 1


def test_new_labels_alone_make_another_model(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    one = register(database, objects, exported(tmp_path / "m"))
    two = register(database, objects, exported(tmp_path / "m", labels=b"other"))
    assert one.manifest_key == two.manifest_key
    assert one.label_set_key != two.label_set_key


def test_without_a_model_it_says_what_to_run(database: Database) -> None:
    with pytest.raises(Unavailable, match="register-model"):
        Registry(database).active()


def test_a_model_registered_later_is_found(
    database: Database, objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(database)
    first = register(database, objects, exported(tmp_path / "m"))
    assert registry.active() == first
    second = register(database, objects, exported(tmp_path / "m", "2"))
    assert registry.active() == first  # not asked for at each upload
    monkeypatch.setattr(registry_module, "REFRESH_S", 0.0)
    assert registry.active() == second


def test_the_last_answer_outlasts_a_fault(
    database_url: str, objects: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url, pool_size=2, timeout_s=2)
    registered = register(database, objects, exported(tmp_path / "m"))
    registry = Registry(database)
    registry.active()
    monkeypatch.setattr(registry_module, "REFRESH_S", 0.0)
    monkeypatch.setattr(database, "connect", _unavailable)
    database.close()
    assert registry.active() == registered


def test_a_broken_manifest_is_refused_before_anything_is_stored(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    folder = exported(tmp_path / "m")
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(ManifestError, match="schema"):
        register(database, objects, folder)
    with pytest.raises(OSError, match="manifest"):
        register(database, objects, tmp_path / "nowhere")
    assert rows.value(database, "SELECT count(*) FROM models") == 0


def test_a_model_is_active_only_once_it_is_prepared(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    seen: list[ActiveModel] = []

    def prepare(model: ActiveModel) -> None:
        assert objects.get(model.manifest_key)  # what preparing needs is there
        assert rows.value(database, "SELECT count(*) FROM models") == 0
        seen.append(model)
        if len(seen) == 1:
            raise Unavailable("not yet")

    folder = exported(tmp_path / "m")
    with pytest.raises(Unavailable, match="not yet"):
        register(database, objects, folder, prepare)
    registered = register(database, objects, folder, prepare)
    assert seen == [registered, registered]
    assert Registry(database).active() == registered


def test_a_manifest_is_fetched_once(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    registered = register(database, objects, exported(tmp_path / "m"))
    manifests = Manifests(objects)
    manifest = manifests.get(registered.manifest_key)
    assert (manifest.model, manifest.embedding_dim) == ("starter", 384)
    objects.delete(registered.manifest_key)
    assert manifests.get(registered.manifest_key) is manifest
    with pytest.raises(Unavailable, match="cannot be used"):
        Manifests(objects).get(registered.manifest_key)


@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"schema": 99}'])
def test_a_manifest_of_another_kind_is_for_the_operator(
    objects: ObjectStore, manifest: bytes
) -> None:
    objects.put("models/m.json", manifest)
    with pytest.raises(Unavailable, match=r"models/m\.json cannot be used"):
        Manifests(objects).get("models/m.json")


def _unavailable() -> ActiveModel:
    raise Unavailable("Postgres is away")
