"""Prints how far faulty exports of the spread model are from open_clip, as JSON by fault."""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
from open_clip.transformer import QuickGELU

from build.exporting import graph, parity, photos, towers
from build.exporting.clip import Clip, described
from build.exporting.engine import OnnxRuntimeEngine
from build.exporting.options import REPOSITORY
from build.exporting.preprocessing import Preprocessing, served_by, upright
from tests.build.exporting.spread_clip import NAME, SENSITIVE, spread_clip

FAULTLESS = "none"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def measure(folder: Path) -> dict[str, Any]:
    clip = as_exported(spread_clip(more=SENSITIVE))
    plain = as_exported(open_clip.create_model(NAME).eval())
    how, served = clip.preprocessing, served_by(REPOSITORY)

    def changed(**fields: Any) -> Any:
        return lambda data, given: served(data, {**given, **fields})

    def not_antialiased(data: bytes, given: Any) -> Any:
        side = given["size_px"]
        image = upright(data)
        scale = side / min(image.size)
        nearest = image.resize([round(each * scale) for each in image.size], resample=0)
        left, top = ((each - side) // 2 for each in nearest.size)
        return np.asarray(nearest.crop((left, top, left + side, top + side)))

    def parity_of(engine: Any, prepare: Any = served, original: Any = clip) -> dict[str, Any]:
        labels = np.eye(original.embedding_dim, dtype=np.float32)
        return parity.of_photos(chosen, original, engine, labels, prepare).as_fields()

    chosen = photos.samples()
    imagenets = replace(how, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    faultless = engine_of(clip.model, how, folder / FAULTLESS)
    wrong_colours = engine_of(clip.model, imagenets, folder / "colours")
    plain_engine = engine_of(plain.model, how, folder / "plain")
    found = {
        FAULTLESS: parity_of(faultless),
        "bilinear for bicubic": parity_of(faultless, changed(interpolation="bilinear")),
        "squash for crop": parity_of(faultless, changed(resize="squash")),
        "no antialias": parity_of(faultless, not_antialiased),
        "ImageNet's mean and std": parity_of(wrong_colours),
        "not spread, bilinear": parity_of(
            plain_engine, changed(interpolation="bilinear"), original=plain
        ),
    }
    quick = spread_clip(more=SENSITIVE)
    for module in quick.visual.modules():
        if hasattr(module, "gelu"):
            module.gelu = QuickGELU()
    found["QuickGELU for GELU"] = parity_of(engine_of(quick, how, folder / "gelu"))
    return found


def as_exported(model: Any) -> Clip:
    return described(model.requires_grad_(False), open_clip.get_tokenizer(NAME), NAME, {})


def engine_of(model: Any, how: Preprocessing, folder: Path) -> OnnxRuntimeEngine:
    tower = towers.ImageTower(model, how.mean, how.std).eval()
    return OnnxRuntimeEngine(graph.image_graph(tower, how.size_px, folder / "model.onnx"), "fp32")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        json.dump(measure(Path(scratch)), sys.stdout)
