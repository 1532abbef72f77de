"""An ONNX graph comes in, OpenVINO's own format (model.xml, model.bin) comes out."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openvino

from build.exporting.preprocessing import Pixels
from contracts.tensors import IMAGE_INPUT

MODEL = "model.xml"
WEIGHTS = "model.bin"


def convert(graph: Path, folder: Path) -> list[Path]:
    """Weights in float16, which loses less than the bfloat16 that is computed in."""
    return _save(openvino.convert_model(graph), folder)


def quantise(graph: Path, pixels: Sequence[Pixels], folder: Path) -> list[Path]:
    """To int8, by the ranges that `pixels` give (NNCF, post-training, for transformers)."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    quantised = nncf.quantize(
        openvino.convert_model(graph),
        nncf.Dataset(list(pixels), lambda each: {IMAGE_INPUT: each[None]}),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(pixels),
    )
    return _save(quantised, folder)


def _save(model: Any, folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    openvino.save_model(model, folder / MODEL, compress_to_fp16=True)
    return [folder / MODEL, folder / WEIGHTS]
