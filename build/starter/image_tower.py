"""EfficientNet-Lite0 weights and class-name embeddings in, the image tower's ONNX graph out.

The network is EfficientNet-Lite0 (Tan and Le 2019; the "lite" family has no squeeze-and-excite and
ReLU6 for swish). The embedding on top is ConSE's (Norouzi et al. 2013, arXiv:1312.5650): the
class-name embeddings averaged by the classifier's own probabilities. It was never trained
against text as CLIP is: it knows what the classifier knows, and words only by their likeness to
the class names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from build.starter.graph import Graph
from build.starter.padding import outputs_of, same_padding
from contracts.tensors import IMAGE_INPUT, IMAGE_OUTPUT, IMAGE_SIZE_PX

Weights = Mapping[str, NDArray[Any]]

CHANNELS = 3
BATCH_NORM_EPSILON = 1e-3
RELU6_MAX = 6.0
# (x / 255 - 0.5) / 0.5 is (x - 127.5) / 127.5. The subtraction stays in the graph, for the
# convolution pads with its zero; the division is folded into the first kernel. x - 127.5 is exact
# in bfloat16, the quotient would not be.
PIXEL_CENTRE = 127.5
STEM_STRIDE = 2


@dataclass(frozen=True)
class Stage:
    """Blocks of one resolution: the first has the stride, the others keep size and channels."""

    blocks: int
    kernel: int
    stride: int


STAGES = (
    Stage(blocks=1, kernel=3, stride=1),
    Stage(blocks=2, kernel=3, stride=2),
    Stage(blocks=2, kernel=5, stride=2),
    Stage(blocks=3, kernel=3, stride=2),
    Stage(blocks=3, kernel=5, stride=1),
    Stage(blocks=4, kernel=5, stride=2),
    Stage(blocks=1, kernel=3, stride=1),
)


class ImageTower:
    """Writes the tower layer by layer, following the picture's size through it."""

    def __init__(self, weights: Weights, class_embeddings: NDArray[np.float32]) -> None:
        self._weights = weights
        self._class_embeddings = class_embeddings
        self._graph = Graph("starter_image_tower")
        self._size_px = IMAGE_SIZE_PX

    def model(self) -> onnx.ModelProto:
        """uint8 [N, 224, 224, 3] in, float32 [N, D] of unit length out."""
        graph = self._graph
        shape = (IMAGE_SIZE_PX, IMAGE_SIZE_PX, CHANNELS)
        x = graph.input(IMAGE_INPUT, TensorProto.UINT8, shape)
        embedding = self._embed(self._classify(self._centred(x)))
        embedding_dim = self._class_embeddings.shape[1]
        graph.output(embedding, IMAGE_OUTPUT, TensorProto.FLOAT, [embedding_dim])
        return graph.to_model()

    def _centred(self, pixels: str) -> str:
        graph = self._graph
        x = graph.op("Cast", "pixels_float", [pixels], to=TensorProto.FLOAT)
        x = graph.op("Transpose", "pixels_nchw", [x], perm=[0, 3, 1, 2])
        return graph.op("Sub", "pixels_centred", [x, graph.scalar("centre", PIXEL_CENTRE)])

    def _classify(self, x: str) -> str:
        x = self._convolution("_conv_stem", "_bn0", x, STEM_STRIDE, scale=1 / PIXEL_CENTRE)
        number = 0
        for stage in STAGES:
            for position in range(stage.blocks):
                stride = stage.stride if position == 0 else 1
                x = self._block(f"_blocks.{number}.", x, stride, residual=position > 0)
                number += 1
        x = self._convolution("_conv_head", "_bn1", x)
        x = self._graph.op("GlobalAveragePool", "pooled", [x])
        x = self._graph.op("Flatten", "features", [x])
        return self._graph.linear(
            "logits", x, self._weights["_fc.weight"], self._weights["_fc.bias"]
        )

    def _block(self, name: str, x: str, stride: int, *, residual: bool) -> str:
        """An inverted residual (Sandler et al. 2018): expand, filter a channel, project."""
        y = x
        if f"{name}_expand_conv.weight" in self._weights:
            y = self._convolution(f"{name}_expand_conv", f"{name}_bn0", y)
        y = self._convolution(f"{name}_depthwise_conv", f"{name}_bn1", y, stride)
        y = self._convolution(f"{name}_project_conv", f"{name}_bn2", y, activation=False)
        return self._graph.op("Add", f"{name}sum", [x, y]) if residual else y

    def _convolution(
        self,
        name: str,
        norm: str,
        x: str,
        stride: int = 1,
        *,
        scale: float = 1.0,
        activation: bool = True,
    ) -> str:
        """A convolution without bias, its batch normalisation folded in, and ReLU6."""
        graph, weight = self._graph, self._weights[f"{name}.weight"]
        gain = self._weights[f"{norm}.weight"] / np.sqrt(
            self._weights[f"{norm}.running_var"] + BATCH_NORM_EPSILON
        )
        bias = self._weights[f"{norm}.bias"] - self._weights[f"{norm}.running_mean"] * gain
        outputs, inputs, kernel, _ = weight.shape
        before, after = same_padding(self._size_px, kernel, stride)
        self._size_px = outputs_of(self._size_px, stride)
        folded = graph.constant(f"{name}.w", weight * (gain * scale)[:, None, None, None])
        x = graph.op(
            "Conv",
            name,
            [x, folded, graph.constant(f"{name}.b", bias)],
            group=outputs if inputs == 1 else 1,
            kernel_shape=[kernel, kernel],
            pads=[before, before, after, after],
            strides=[stride, stride],
        )
        return self._relu6(f"{name}.relu6", x) if activation else x

    def _relu6(self, name: str, x: str) -> str:
        low, high = (
            self._graph.scalar(f"{name}.low", 0.0),
            self._graph.scalar(f"{name}.high", RELU6_MAX),
        )
        return self._graph.op("Clip", name, [x, low, high])

    def _embed(self, logits: str) -> str:
        graph = self._graph
        probabilities = graph.op("Softmax", "probabilities", [logits], axis=1)
        table = graph.constant("class_embeddings", self._class_embeddings)
        mixture = graph.op("MatMul", "mixture", [probabilities, table])
        return graph.unit_length("unit_mixture", mixture)
