"""Options that do not go together are refused before anything is loaded."""

from pathlib import Path

import pytest

from build import export_tensorrt
from build.exporting.options import parse, precision_of
from build.exporting.refusal import USAGE, CannotExport


@pytest.mark.parametrize(
    ("runtime", "precision"), [("openvino", "bf16"), ("tensorrt", "fp16"), ("onnx", "fp32")]
)
def test_a_runtime_has_a_precision_of_its_own(runtime: str, precision: str) -> None:
    assert precision_of(runtime, None, None) == precision


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [("openvino", "fp32"), ("tensorrt", "int8"), ("onnx", "bf16"), ("openvino", "int4")],
)
def test_other_pairs_are_refused_with_those_there_are(runtime: str, precision: str) -> None:
    with pytest.raises(CannotExport, match="openvino: bf16 or int8, tensorrt: fp16") as refusal:
        precision_of(runtime, precision, Path("photos"))
    assert refusal.value.exit_code == USAGE


def test_int8_needs_photos() -> None:
    with pytest.raises(CannotExport, match="--calibration DIR"):
        precision_of("openvino", "int8", None)


def test_the_default_is_the_model_of_the_readme() -> None:
    options = parse([], "")
    assert (options.model, options.pretrained) == ("ViT-B-32", "laion2b_s34b_b79k")
    assert options.activate is None


def test_another_model_needs_to_be_told_its_weights() -> None:
    with pytest.raises(CannotExport, match="--pretrained TAG, or --checkpoint FILE"):
        parse(["--model", "ViT-L-14"], "")


@pytest.mark.parametrize("model", ["hf-hub:some/one", "local-dir:/models/mine"])
def test_a_repository_of_the_hub_brings_its_own(model: str) -> None:
    assert parse(["--model", model], "").pretrained is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--runtime", "onnx", "--precision", "int8"], "has no --precision int8"),
        (["--precision", "int8"], "int8 needs --calibration"),
        (["--compute-capability", "8.9"], "is for --runtime tensorrt"),
        (
            ["--runtime", "tensorrt", "--compute-capability", "Ada"],
            "'Ada' is no compute capability",
        ),
        (["--output", "/nowhere"], "/nowhere is no model repository"),
        (["--list", "--output", "/nowhere"], "/nowhere cannot be read"),
        (["--activate-version", "9", "--output", "/nowhere"], "version 9 cannot be activated"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_tensorrt.main(arguments) in {1, 2}
    assert says in capsys.readouterr().err
