"""The towers as ONNX graphs come in, the model files of the runtime come out, ready to be run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from build.artefacts import Folder
from build.exporting import label_set, openvino_model
from build.exporting.engine import Engine, OnnxRuntimeEngine, OpenVinoEngine, TensorRtEngine
from build.exporting.graph import Graphs
from build.exporting.options import Options
from build.exporting.preprocessing import Pixels
from build.exporting.refusal import CannotExport
from build.exporting.tensorrt_engine import Plan, Profile, build_plan
from build.exporting.tensorrt_toolkit import can_run_here
from build.model_versions import TOKENIZER
from contracts.tensors import (
    IMAGE_INPUT,
    IMAGE_MODEL,
    TEXT_ATTENTION_MASK,
    TEXT_INPUT_IDS,
    TEXT_MODEL,
)

CHANNELS = 3

Say = Callable[[str], None]
Files = Mapping[str, Path]  # name in the version's folder to where it lies now


@dataclass(frozen=True)
class Converted:
    """`image` and `text` run what will be served, or, where `not_run` says why, its graph."""

    image_files: Files
    text_files: Files
    image: Engine
    text: Engine
    engine_facts: Mapping[str, str] = field(default_factory=dict)
    not_run: str | None = None

    def files(self, label_matrix: bytes, tokenizer: str) -> dict[str, Folder]:
        """What goes into the towers' folders of the repository."""
        return {
            IMAGE_MODEL: {**self.image_files, label_set.FILE: label_matrix},
            TEXT_MODEL: {**self.text_files, TOKENIZER: tokenizer.encode()},
        }


def convert(
    options: Options, graphs: Graphs, calibration: Sequence[Pixels], scratch: Path, say: Say
) -> Converted:
    """`calibration` is for int8. Raises CannotExport, and OSError where the disk is full."""
    try:
        return _converted(options, graphs, calibration, scratch, say)
    except (CannotExport, OSError):
        raise
    except Exception as exc:  # each runtime has its own for a graph that it cannot read
        raise CannotExport(f"{options.runtime} cannot take this model: {exc}") from exc


def _converted(
    options: Options, graphs: Graphs, calibration: Sequence[Pixels], scratch: Path, say: Say
) -> Converted:
    if options.runtime == "tensorrt":
        return _tensorrt(options, graphs, say)
    if options.runtime == "onnx":
        return _onnx(graphs)
    return _openvino(graphs, calibration, scratch / "openvino")


def _onnx(graphs: Graphs) -> Converted:
    return Converted(
        image_files=_beside(graphs.image),
        text_files=_beside(graphs.text),
        image=OnnxRuntimeEngine(graphs.image, "fp32"),
        text=OnnxRuntimeEngine(graphs.text, "fp32"),
    )


def _openvino(graphs: Graphs, calibration: Sequence[Pixels], scratch: Path) -> Converted:
    if calibration:
        image = openvino_model.quantise(graphs.image, calibration, scratch / IMAGE_MODEL)
    else:
        image = openvino_model.convert(graphs.image, scratch / IMAGE_MODEL)
    text = openvino_model.convert(graphs.text, scratch / TEXT_MODEL)
    return Converted(
        image_files={path.name: path for path in image},
        text_files={path.name: path for path in text},
        image=OpenVinoEngine(image[0]),
        text=OpenVinoEngine(text[0]),
    )


def _tensorrt(options: Options, graphs: Graphs, say: Say) -> Converted:
    size, length = graphs.size_px, graphs.context_length
    image_inputs = {IMAGE_INPUT: (size, size, CHANNELS)}
    text_inputs = {TEXT_INPUT_IDS: (length,), TEXT_ATTENTION_MASK: (length,)}
    image = _plan(options, IMAGE_MODEL, graphs.image, image_inputs, say)
    text = _plan(options, TEXT_MODEL, graphs.text, text_inputs, say)
    not_run = can_run_here(image.facts)
    return Converted(
        image_files={image.file_name: image.path},
        text_files={text.file_name: text.path},
        image=OnnxRuntimeEngine(graphs.image, "fp16") if not_run else TensorRtEngine(image),
        text=OnnxRuntimeEngine(graphs.text, "fp16") if not_run else TensorRtEngine(text),
        engine_facts={"library": image.facts["flavour"], **image.facts},
        not_run=not_run,
    )


def _plan(
    options: Options, name: str, graph: Path, shapes: Mapping[str, tuple[int, ...]], say: Say
) -> Plan:
    profile, capability = Profile.of_batches(shapes), options.compute_capability
    return build_plan(graph, name, profile, options.plan_cache, capability, say)


def _beside(graph: Path) -> Files:
    """The graph, and its weights where they are too large for one file."""
    return {path.name: path for path in sorted(graph.parent.iterdir())}
