"""The command line comes in, options that go together come out."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from build.exporting.refusal import wrong_usage

DEFAULT_MODEL = "ViT-B-32"
DEFAULT_PRETRAINED = "laion2b_s34b_b79k"
PRECISIONS = {  # the first is the default
    "openvino": ("bf16", "int8"),
    "tensorrt": ("fp16",),
    "onnx": ("fp32",),
}
TEMPLATES = ("simple", "openai")

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent / "model_repository"
PLAN_CACHE = Path.home() / ".cache" / "image-classification-platform" / "plans"


@dataclass(frozen=True)
class Options:
    """What to export, from what, for what; `activate` is None where the runtime decides."""

    model: str
    pretrained: str | None
    checkpoint: Path | None
    runtime: str
    precision: str
    output: Path
    calibration: Path | None
    photos: Path | None
    templates: str
    activate: bool | None
    compute_capability: str | None
    plan_cache: Path
    activate_version: str | None = None
    list_versions: bool = False


def parse(arguments: Sequence[str], description: str) -> Options:
    """Raises CannotExport for options that do not go together."""
    given = _parser(description).parse_args(arguments)
    if given.compute_capability and given.runtime != "tensorrt":
        raise wrong_usage("--compute-capability is for --runtime tensorrt, which is not given")
    if given.pretrained is None and given.checkpoint is None and ":" not in given.model:
        given.pretrained = _default_pretrained(given.model)
    return Options(
        model=given.model,
        pretrained=given.pretrained,
        checkpoint=given.checkpoint,
        runtime=given.runtime,
        precision=precision_of(given.runtime, given.precision, given.calibration),
        output=given.output,
        calibration=given.calibration,
        photos=given.photos,
        templates=given.templates,
        activate=given.activate,
        compute_capability=given.compute_capability,
        plan_cache=given.plan_cache,
        activate_version=given.activate_version,
        list_versions=given.list,
    )


def precision_of(runtime: str, precision: str | None, calibration: Path | None) -> str:
    """Raises CannotExport for a pair that no backend serves, and for int8 without photos."""
    possible = PRECISIONS[runtime]
    chosen = precision or possible[0]
    if chosen not in possible:
        pairs = ", ".join(f"{name}: {' or '.join(each)}" for name, each in PRECISIONS.items())
        raise wrong_usage(f"--runtime {runtime} has no --precision {chosen}. There are {pairs}.")
    if chosen == "int8" and calibration is None:
        raise wrong_usage(
            "int8 needs --calibration DIR: some hundred photos of the kind that will be classified"
        )
    return chosen


def _default_pretrained(model: str) -> str:
    if model != DEFAULT_MODEL:
        raise wrong_usage(
            f"--model {model} needs --pretrained TAG, or --checkpoint FILE for weights of your own"
        )
    return DEFAULT_PRETRAINED


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="build.export_tensorrt",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    weights = parser.add_argument_group("what to export")
    weights.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME")
    weights.add_argument("--pretrained", metavar="TAG", help="of open_clip; downloaded once")
    weights.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights on this machine")
    target = parser.add_argument_group("for what")
    target.add_argument("--runtime", choices=PRECISIONS, default="openvino")
    target.add_argument("--precision", help="bf16 or int8 (openvino), fp16 (tensorrt), fp32 (onnx)")
    target.add_argument("--output", type=Path, default=REPOSITORY, metavar="DIR")
    target.add_argument("--compute-capability", metavar="N.M", help="of the GPU, if not this one's")
    target.add_argument("--plan-cache", type=Path, default=PLAN_CACHE, metavar="DIR")
    photos = parser.add_argument_group("photos and labels")
    photos.add_argument("--calibration", type=Path, metavar="DIR", help="photos, for int8")
    photos.add_argument("--photos", type=Path, metavar="DIR", help="photos to hold the export to")
    photos.add_argument("--templates", choices=TEMPLATES, default=TEMPLATES[0])
    versions = parser.add_argument_group("versions")
    versions.add_argument("--activate", action=argparse.BooleanOptionalAction, default=None)
    versions.add_argument("--activate-version", metavar="N", help="serve N, forward or back")
    versions.add_argument("--list", action="store_true", help="installed and served versions")
    return parser
