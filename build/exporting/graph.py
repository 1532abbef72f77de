"""A tower comes in, one ONNX file with a dynamic batch comes out."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from build.exporting import towers
from build.exporting.clip import Clip
from build.exporting.refusal import CannotExport
from build.exporting.tokenizer import TextTokens
from contracts.tensors import (
    IMAGE_INPUT,
    IMAGE_MODEL,
    IMAGE_OUTPUT,
    MAX_BATCH_SIZE,
    TEXT_ATTENTION_MASK,
    TEXT_INPUT_IDS,
    TEXT_MODEL,
    TEXT_OUTPUT,
)

OPSET = 18  # what TensorRT, OpenVINO and ONNX Runtime all read, with LayerNormalization whole
SAMPLE_BATCH = 2  # 1 would be taken for a constant
SAMPLE_LENGTH = 8
ONE_FILE_BYTES = 1_900_000_000  # protobuf's limit is 2 GiB; weights beyond it need a second file
MODEL = "model.onnx"


@dataclass(frozen=True)
class Graphs:
    """ONNX files of the two towers, each in a folder of its own, and what their inputs are."""

    image: Path
    text: Path
    size_px: int
    context_length: int
    in_half: bool


def of(clip: Clip, tokens: TextTokens, *, in_half: bool, scratch: Path) -> Graphs:
    """`in_half`: float16 but for what needs float32. Raises CannotExport."""
    how = clip.preprocessing
    model = towers.in_half_precision(clip.model) if in_half else clip.model
    image = towers.ImageTower(model, how.mean, how.std).eval()
    text = towers.text_tower(model, tokens.pad_id)
    return Graphs(
        image=image_graph(image, how.size_px, scratch / IMAGE_MODEL / MODEL),
        text=text_graph(text, tokens, scratch / TEXT_MODEL / MODEL),
        size_px=how.size_px,
        context_length=tokens.context_length,
        in_half=in_half,
    )


def image_graph(tower: Any, size_px: int, path: Path) -> Path:
    """Raises CannotExport where PyTorch cannot trace the tower."""
    pixels = torch.zeros(SAMPLE_BATCH, size_px, size_px, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH_SIZE)
    return _export(tower, {IMAGE_INPUT: pixels}, {IMAGE_INPUT: {0: batch}}, IMAGE_OUTPUT, path)


def text_graph(tower: Any, tokens: TextTokens, path: Path) -> Path:
    """Raises CannotExport where PyTorch cannot trace the tower."""
    length = SAMPLE_LENGTH if tokens.is_dynamic else tokens.context_length
    ids = torch.ones(SAMPLE_BATCH, length, dtype=torch.int64)
    dims = {0: torch.export.Dim("batch", min=1, max=MAX_BATCH_SIZE)}
    if tokens.is_dynamic:
        dims[1] = torch.export.Dim("length", min=2, max=tokens.context_length)
    inputs = {TEXT_INPUT_IDS: ids, TEXT_ATTENTION_MASK: torch.ones_like(ids)}
    return _export(tower, inputs, dict.fromkeys(inputs, dims), TEXT_OUTPUT, path)


def _export(
    tower: Any, inputs: dict[str, Any], dims: dict[str, Any], output: str, path: Path
) -> Path:
    path.parent.mkdir(parents=True)
    weights_bytes = sum(each.numel() * each.element_size() for each in tower.parameters())
    with warnings.catch_warnings(), torch.no_grad():
        # Both inputs of the text tower share their axes, and one name is enough for each.
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        try:
            program = torch.onnx.export(
                tower,
                kwargs=inputs,
                input_names=list(inputs),
                output_names=[output],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=dims,
                verbose=False,
            )
        except Exception as exc:  # tracing raises nearly anything
            why = str(exc).strip().splitlines()
            raise CannotExport(
                f"PyTorch cannot trace this model: {why[0] if why else exc!r}"
            ) from exc
    _keep_for_output(output, program.model.graph)
    program.save(str(path), external_data=weights_bytes > ONE_FILE_BYTES)
    return path


def _keep_for_output(name: str, graph: Any) -> None:
    """Steps are named by what they do, and one of a text tower is called `embedding` as well."""
    for node in graph:
        for value in node.outputs:
            if value.name == name and not value.is_graph_output():
                value.name = f"{name}_of_tokens"
