"""Small towers of open_clip with random weights, exported in half precision as ONNX graphs."""

from pathlib import Path
from typing import Any

import torch
from open_clip.transformer import TextTransformer, VisionTransformer

IMAGE_PX = 32
CONTEXT_LENGTH = 8
OPSET = 18


class ImageTower(torch.nn.Module):  # type: ignore[misc]
    """pixels UINT8 [N, 32, 32, 3] -> embedding FP32 [N, 32]"""

    def __init__(self) -> None:
        super().__init__()
        self.vit = VisionTransformer(IMAGE_PX, 8, 64, 2, 2, 4.0, output_dim=32).half()

    def forward(self, pixels: Any) -> Any:
        half = pixels.to(torch.float16)  # TensorRT takes UINT8 into nothing but a cast
        return self.vit(half.permute(0, 3, 1, 2)).float()


class TextTower(torch.nn.Module):  # type: ignore[misc]
    """input_ids INT64 [N, 8] -> embedding FP32 [N, 32]"""

    def __init__(self) -> None:
        super().__init__()
        self.text = TextTransformer(CONTEXT_LENGTH, 100, 64, 2, 2, output_dim=32).half()

    def forward(self, input_ids: Any) -> Any:
        return self.text(input_ids).float()


def image(path: Path) -> None:
    _export(ImageTower(), "pixels", torch.zeros(2, IMAGE_PX, IMAGE_PX, 3).byte(), path)


def text(path: Path) -> None:
    _export(TextTower(), "input_ids", torch.ones(2, CONTEXT_LENGTH).long(), path)


def _export(tower: Any, name: str, sample: Any, path: Path) -> None:
    torch.onnx.export(
        tower.eval(),
        (sample,),
        str(path),
        input_names=[name],
        output_names=["unit"],
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes={name: {0: torch.export.Dim("batch", min=1, max=64)}},
        external_data=False,
        verbose=False,
    )
