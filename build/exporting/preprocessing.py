"""Encoded photos come in, uint8 pixels [size, size, 3] as the served models see them come out."""

import io
import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from contracts.tensors import BYTES_MODEL

Pixels = npt.NDArray[np.uint8]
Prepare = Callable[[bytes, Mapping[str, Any]], Pixels]

RESIZES = ("shortest", "squash")


@dataclass(frozen=True)
class Preprocessing:
    """As open_clip configures it for a model; `mean` and `std` are of colours from 0 to 1."""

    size_px: int
    resize: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def as_fields(self) -> dict[str, Any]:
        """What the manifest says of it: see contracts/manifest.py."""
        return {
            "size_px": self.size_px,
            "resize": self.resize,
            "interpolation": self.interpolation,
            "antialias": True,
            "crop": "center",
            "color": "RGB",
            "mean": list(self.mean),
            "std": list(self.std),
        }


def served_by(repository: Path) -> Prepare:
    """The code that clip_image decodes with; a version of it is installed with the export."""
    prepare: Prepare = runpy.run_path(str(repository / BYTES_MODEL / "model.py"))["prepare"]
    return prepare


def prepare_all(photos: Sequence[Path], how: Preprocessing, prepare: Prepare) -> list[Pixels]:
    return [prepare(path.read_bytes(), how.as_fields()) for path in photos]


def upright(data: bytes) -> Image.Image:
    """In RGB, as open_clip gets it. Raises whatever Pillow's decoders raise on bad bytes."""
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")
