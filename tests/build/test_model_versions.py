"""Versions are installed whole, activated in all four configurations, and refused with reasons."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from build import artefacts, model_versions
from build.model_versions import MODELS, Activation, CannotActivate, Hardware
from contracts.tensors import BYTES_MODEL, IMAGE_MODEL, PROMPT_MODEL, TEXT_MODEL

ROOT = Path(__file__).parent.parent.parent
MANIFEST = {
    "schema": 1,
    "model": "ViT-B-32",
    "version": "x",
    "image_model": IMAGE_MODEL,
    "text_model": TEXT_MODEL,
    "triton_version": "x",
    "embedding_dim": 512,
    "logit_scale": 100.0,
    "preprocessing": {
        "size_px": 224,
        "resize": "shortest",
        "interpolation": "bicubic",
        "antialias": True,
        "crop": "center",
        "color": "RGB",
    },
    "text": {"context_length": 77, "dynamic_length": True},
    "default_label_set": {"name": "imagenet-1k", "file": "label_sets/imagenet-1k.npz"},
    "runtime": "openvino",
}
FILES = {"openvino": ("model.xml", "model.bin"), "onnx": ("model.onnx",), "tensorrt": ("m.plan",)}
PLAN = {
    "runtime": "tensorrt",
    "engine": {"flavour": "tensorrt", "compute_capability": "9.0"},
    "text": {"context_length": 77, "dynamic_length": False},
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What is tracked of it, with version 1 in its configurations."""
    ignored = shutil.ignore_patterns("[0-9]*", ".*", "__pycache__")
    return Path(shutil.copytree(ROOT / "model_repository", tmp_path / "models", ignore=ignored))


def install(repository: Path, version: str, **different: Any) -> None:
    manifest = {**MANIFEST, "version": version, **different}
    names = FILES.get(manifest["runtime"], ("model.onnx",))
    tower = {name: f"{name} of {version}".encode() for name in names}
    files = {
        IMAGE_MODEL: {**tower, "label_sets/imagenet-1k.npz": b"labels"},
        TEXT_MODEL: {**tower, "tokenizer.json": b"{}"},
    }
    model_versions.install(repository, version, files, manifest)


def configuration(repository: Path, model: str, hardware: Hardware = Hardware.CPU) -> Any:
    text = (repository / model / hardware.value).read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def policies(repository: Path, hardware: Hardware = Hardware.CPU) -> list[list[int]]:
    configurations = [configuration(repository, model, hardware) for model in MODELS]
    return [list(each.version_policy.specific.versions) for each in configurations]


def texts(repository: Path) -> Mapping[Path, str]:
    return {path: path.read_text() for path in sorted(repository.glob("*/**/*.pbtxt"))}


def comments(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines()]


def test_a_version_is_installed_in_all_four_folders(repository: Path) -> None:
    install(repository, "3")
    files = {
        model: sorted(path.name for path in (repository / model / "3").iterdir())
        for model in MODELS
    }
    assert files == {
        IMAGE_MODEL: ["label_sets", "manifest.json", "model.bin", "model.xml"],
        TEXT_MODEL: ["manifest.json", "model.bin", "model.xml", "tokenizer.json"],
        BYTES_MODEL: ["manifest.json", "model.py"],
        PROMPT_MODEL: ["manifest.json", "model.py", "tokenizer.json"],
    }
    assert model_versions.installed(repository)["3"] == {
        **MANIFEST,
        "version": "3",
        "triton_version": "3",
    }


def test_the_next_version_is_free_in_all_folders(repository: Path) -> None:
    assert model_versions.next_version(repository) == "2"  # 1 is the starter's, made or not
    install(repository, "9")
    (repository / PROMPT_MODEL / "10").mkdir()
    assert model_versions.next_version(repository) == "11"


def test_two_exporters_never_get_one_number(repository: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from build import artefacts, model_versions\n"
        "from tests.build.test_model_versions import install\n"
        "repository = Path(sys.argv[1])\n"
        "with artefacts.only_one_builder(repository):\n"
        "    install(repository, model_versions.next_version(repository))"
    )
    command = [sys.executable, "-c", script, str(repository)]
    running = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert list(model_versions.installed(repository)) == ["2", "3", "4", "5"]


def test_an_incomplete_version_is_not_installed_nor_activated(repository: Path) -> None:
    install(repository, "2")
    before = texts(repository)
    (repository / TEXT_MODEL / "2" / "model.bin").unlink()
    assert model_versions.installed(repository) == {}
    with pytest.raises(CannotActivate, match=r"clip_text/2 is incomplete: model.bin is missing"):
        model_versions.activate(repository, "2")
    assert texts(repository) == before


def test_activation_writes_the_models_values_and_keeps_every_comment(repository: Path) -> None:
    before = texts(repository)
    how = {**MANIFEST["preprocessing"], "size_px": 336}  # type: ignore[dict-item]
    install(repository, "2", embedding_dim=768, preprocessing=how, runtime="onnx")
    done = model_versions.activate(repository, "2")
    assert done == Activation(served=["2"], dropped=["1"])
    assert policies(repository) == [[2]] * 4
    assert model_versions.served(repository, Hardware.CPU) == ["2"]

    image, text = (configuration(repository, model) for model in (IMAGE_MODEL, TEXT_MODEL))
    assert (image.backend, image.default_model_filename) == ("onnxruntime", "model.onnx")
    assert list(image.input[0].dims) == [336, 336, 3]
    assert list(image.model_warmup[0].inputs["pixels"].dims) == [336, 336, 3]
    assert (text.backend, text.default_model_filename) == ("onnxruntime", "model.onnx")
    assert [list(tensor.dims) for tensor in text.input] == [[-1], [-1]]
    outputs = [list(configuration(repository, model).output[0].dims) for model in MODELS]
    assert outputs == [[768]] * 4
    assert configuration(repository, BYTES_MODEL).backend == "python"

    for path, after in texts(repository).items():
        assert comments(after) == comments(before[path])
        assert (after == before[path]) == (path.name == "config.pbtxt")


def test_a_plan_is_written_into_the_gpus_configurations(repository: Path) -> None:
    before = texts(repository)
    install(repository, "2", **PLAN)
    model_versions.activate(repository, "2", on=Hardware.GPU)
    assert policies(repository, Hardware.GPU) == [[2]] * 4
    for model, length in ((IMAGE_MODEL, [224, 224, 3]), (TEXT_MODEL, [77])):
        config = configuration(repository, model, Hardware.GPU)
        assert dict(config.cc_model_filenames) == {"9.0": "m.plan"}
        assert config.default_model_filename == "m.plan"
        assert [list(tensor.dims) for tensor in config.input] == [length] * len(config.input)
        for spec in config.optimization.cuda.graph_spec:
            assert {tuple(shape.dim) for shape in spec.input.values()} == {tuple(length)}
    for path, after in texts(repository).items():
        assert (after == before[path]) == (path.name == "cpu.pbtxt")


def test_a_text_of_fixed_length_is_declared_and_warmed_up_so(repository: Path) -> None:
    install(repository, "2", text={"context_length": 64, "dynamic_length": False})
    model_versions.activate(repository, "2")
    config = configuration(repository, TEXT_MODEL)
    assert [list(tensor.dims) for tensor in config.input] == [[64], [64]]
    assert [list(sample.dims) for sample in config.model_warmup[0].inputs.values()] == [[64], [64]]


def test_the_version_before_stays_where_one_configuration_serves_both(repository: Path) -> None:
    for version in ("1", "2", "3"):
        install(repository, version)
    install(repository, "4", embedding_dim=640)
    activated = [model_versions.activate(repository, version) for version in ("1", "2", "3", "4")]
    assert [done.served for done in activated] == [["1"], ["1", "2"], ["2", "3"], ["4"]]
    assert activated[3].dropped == ["2", "3"]


def test_activating_a_lower_number_rolls_back(repository: Path) -> None:
    for version in ("1", "2"):
        install(repository, version)
        up = model_versions.activate(repository, version)
    assert up.load_order == MODELS
    back = model_versions.activate(repository, "1")
    assert back == Activation(served=["1"], dropped=["2"])
    assert back.load_order == MODELS[::-1]


def test_activating_twice_changes_nothing(repository: Path) -> None:
    install(repository, "1")
    install(repository, "2")
    model_versions.activate(repository, "1")
    model_versions.activate(repository, "2")
    before = texts(repository)
    assert model_versions.activate(repository, "2").served == ["1", "2"]
    assert texts(repository) == before


@pytest.mark.parametrize(
    ("different", "reason"),
    [
        ({"runtime": "tensorrt_rtx"}, "TensorRT-RTX"),
        ({**PLAN, "engine": {"flavour": "tensorrt_rtx"}}, "TensorRT-RTX"),
        ({**PLAN, "engine": {}}, r"does not say engine\.compute_capability"),
        ({"runtime": "torch"}, "runtime 'torch' is none of openvino, onnx, tensorrt"),
        ({"embedding_dim": 0}, "embedding_dim must be a number above 0"),
        ({"text": {"dynamic_length": False}}, "the manifest of version 2 is damaged"),
    ],
)
def test_what_triton_cannot_serve_is_refused(
    repository: Path, different: dict[str, Any], reason: str
) -> None:
    before = texts(repository)
    install(repository, "2", **different)
    with pytest.raises(CannotActivate, match=reason):
        model_versions.activate(repository, "2")
    assert texts(repository) == before


def test_other_hardware_is_refused(repository: Path) -> None:
    install(repository, "2", **PLAN)
    reason = "version 2 is for the GPU, and this machine serves the CPU"
    with pytest.raises(CannotActivate, match=reason):
        model_versions.activate(repository, "2", on=Hardware.CPU)


def test_a_version_that_is_not_there_is_refused_with_those_that_are(repository: Path) -> None:
    install(repository, "1")
    install(repository, "2")
    with pytest.raises(CannotActivate, match=r"is not there \(versions that are: 1, 2\)"):
        model_versions.activate(repository, "7")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files_bytes": 1}', "\udcff"])
def test_a_damaged_manifest_is_refused(repository: Path, text: str) -> None:
    install(repository, "2")
    path = repository / BYTES_MODEL / "2" / "manifest.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CannotActivate, match=r"clip_image/2/manifest\.json is damaged"):
        model_versions.activate(repository, "2")


def test_folders_of_two_exports_are_no_version(repository: Path) -> None:
    install(repository, "2")
    path = repository / TEXT_MODEL / "2" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "logit_scale": 50.0}))
    with pytest.raises(CannotActivate, match="not of one export"):
        model_versions.activate(repository, "2")


def test_an_unreadable_configuration_leaves_all_four(repository: Path) -> None:
    install(repository, "2")
    (repository / PROMPT_MODEL / "configs" / "cpu.pbtxt").write_text('name: "clip_prompt"\n')
    before = texts(repository)
    with pytest.raises(CannotActivate, match=r"version_policy\.specific\.versions is missing"):
        model_versions.activate(repository, "2")
    assert texts(repository) == before


def test_killed_amid_an_activation_all_four_are_rewritten_the_next_time(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(repository, "2")
    take_place = artefacts._take_place
    placed: list[Path] = []

    def dying(target: Path) -> None:
        if len(placed) == 2:
            raise KeyboardInterrupt
        placed.append(target)
        take_place(target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(artefacts, "_take_place", dying)
        model_versions.activate(repository, "2")
    assert sorted(policies(repository)) == [[1], [1], [2], [2]]
    model_versions.recover(repository)
    assert policies(repository) == [[2]] * 4
