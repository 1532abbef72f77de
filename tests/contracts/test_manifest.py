"""Manifests: a good one is read, a bad one is refused with the name of its field."""

import json
from typing import Any

import pytest

from contracts.manifest import Manifest, ManifestError, Preprocessing

GOOD: dict[str, Any] = {
    "schema": 1,
    "model": "starter",
    "version": "3",
    "image_model": "clip_vit",
    "triton_version": "1",
    "embedding_dim": 384,
    "logit_scale": 40,
    "preprocessing": {
        "size_px": 224,
        "resize": "shortest",
        "interpolation": "bicubic",
        "crop": "center",
        "color": "RGB",
    },
    "default_label_set": {"name": "few", "file": "label_sets/few.npz"},
    "made_from": ["whatever else the exporter writes down"],
}


def without(path: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    inner = record
    for parent in parents:
        inner = inner[parent]
    del inner[last]
    return record


def changed(path: str, value: Any) -> dict[str, Any]:
    record = without(path)
    *parents, last = path.split(".")
    inner = record
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return record


def test_a_good_one_is_read() -> None:
    manifest = Manifest.from_json(json.dumps(GOOD))
    assert manifest.preprocessing == Preprocessing(size_px=224, interpolation="bicubic")
    assert (manifest.model, manifest.version, manifest.triton_version) == ("starter", "3", "1")
    assert manifest.logit_scale == pytest.approx(40.0)
    assert (manifest.label_set_name, manifest.label_set_file) == ("few", "label_sets/few.npz")


def test_one_from_before_there_were_prompts_is_read() -> None:
    manifest = Manifest.from_json(json.dumps(GOOD))
    assert (manifest.prompt_model, manifest.templates) == ("clip_prompt", ("a photo of a {}",))


@pytest.mark.parametrize("templates", [[], ["no place"], ["{} and {}"], [1], 7, [["{}"]]])
def test_templates_have_one_place_each(templates: Any) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(json.dumps({**GOOD, "templates": templates}))


@pytest.mark.parametrize(
    "path",
    [
        *(name for name in GOOD if name != "made_from"),
        *(f"preprocessing.{name}" for name in GOOD["preprocessing"]),
        "default_label_set.name",
        "default_label_set.file",
    ],
)
def test_a_missing_field_is_named(path: str) -> None:
    with pytest.raises(ManifestError, match=path.rpartition(".")[2]):
        Manifest.from_json(json.dumps(without(path)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", 2),
        ("schema", "1"),
        ("preprocessing.resize", "longest"),
        ("preprocessing.interpolation", "nearest"),
        ("preprocessing.crop", "none"),
        ("preprocessing.color", "BGR"),
    ],
)
def test_what_is_not_understood_is_named(path: str, value: Any) -> None:
    with pytest.raises(ManifestError, match=path):
        Manifest.from_json(json.dumps(changed(path, value)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model", 5),
        ("model", ""),
        ("version", 1),
        ("triton_version", None),
        ("embedding_dim", "many"),
        ("embedding_dim", None),
        ("embedding_dim", 0),
        ("logit_scale", [40]),
        ("logit_scale", "hot"),
        ("logit_scale", -1),
        ("logit_scale", float("nan")),
        ("logit_scale", float("inf")),
        ("logit_scale", 10**400),
        ("preprocessing.size_px", {}),
        ("preprocessing.size_px", 0),
        ("default_label_set.file", 7),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_field_of_the_wrong_kind_is_named(path: str, value: Any) -> None:
    with pytest.raises(ManifestError, match=path.rpartition(".")[2]):
        Manifest.from_json(json.dumps(changed(path, value)))


@pytest.mark.parametrize("path", ["preprocessing", "default_label_set"])
@pytest.mark.parametrize("value", ["none", 5, [], None])
def test_a_part_that_is_no_object_is_refused(path: str, value: Any) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(json.dumps(changed(path, value)))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", '"x"', b"\xff\x00", "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(text)
