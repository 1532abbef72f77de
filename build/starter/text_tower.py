"""MiniLM weights in, the text tower's ONNX graph out: token ids to one unit vector a text.

The network is BERT (Devlin et al. 2019) as distilled into MiniLM-L6 (Wang et al. 2020), post-norm,
384 wide; the sentence is the mean of its tokens' last states (Reimers and Gurevych 2019).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from build.starter.graph import Graph
from contracts.tensors import TEXT_ATTENTION_MASK, TEXT_INPUT_IDS, TEXT_OUTPUT

Weights = Mapping[str, NDArray[Any]]

LAYERS = 6
HEADS = 12
LAYER_NORM_EPSILON = 1e-12
# Added to the score of a padding token before the softmax. Large enough to be zero after it in
# float32 and bfloat16, small enough for float16.
MASKED_SCORE = -1e4
LENGTH = "length"  # the symbolic token dimension


class TextTower:
    """Writes the tower layer by layer."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._graph = Graph("starter_text_tower")
        self._width = weights["embeddings.word_embeddings.weight"].shape[1]

    def model(self) -> onnx.ModelProto:
        """int64 ids and mask [N, L] in, float32 [N, D] of unit length out."""
        graph = self._graph
        ids = graph.input(TEXT_INPUT_IDS, TensorProto.INT64, [LENGTH])
        mask = graph.input(TEXT_ATTENTION_MASK, TensorProto.INT64, [LENGTH])
        kept = graph.op("Cast", "kept", [mask], to=TensorProto.FLOAT)  # [N, L], 1 or 0
        penalty = self._padding_penalty(kept)
        x = self._embeddings(ids)
        for layer in range(LAYERS):
            x = self._layer(f"encoder.layer.{layer}.", x, penalty)
        embedding = graph.unit_length("unit_mean", self._mean_of_kept(x, kept))
        graph.output(embedding, TEXT_OUTPUT, TensorProto.FLOAT, [self._width])
        return graph.to_model()

    def _padding_penalty(self, kept: str) -> str:
        """[N, 1, 1, L]: zero for a token, MASKED_SCORE for padding."""
        graph = self._graph
        padding = graph.op("Sub", "padding", [graph.scalar("one", 1.0), kept])
        penalty = graph.op("Mul", "penalty", [padding, graph.scalar("masked", MASKED_SCORE)])
        axes = graph.constant("penalty_axes", np.array([1, 2]))
        return graph.op("Unsqueeze", "penalty_nhll", [penalty, axes])

    def _embeddings(self, ids: str) -> str:
        graph, weights = self._graph, self._weights
        words = graph.constant("words", weights["embeddings.word_embeddings.weight"])
        x = graph.op("Gather", "word", [words, ids])
        # Every token is of the first segment, so its embedding joins the position's for good.
        places = weights["embeddings.position_embeddings.weight"]
        segment = weights["embeddings.token_type_embeddings.weight"][0]
        table = graph.constant("places", places + segment)
        length = graph.op("Shape", "length_1d", [ids], start=1, end=2)
        start, axis = graph.constant("zero", np.array([0])), graph.constant("axis", np.array([0]))
        place = graph.op("Slice", "place", [table, start, length, axis])
        return self._layer_norm("embeddings.LayerNorm", graph.op("Add", "embedded", [x, place]))

    def _layer(self, name: str, x: str, penalty: str) -> str:
        graph = self._graph
        attended = self._attention(f"{name}attention.", x, penalty)
        x = graph.op("Add", f"{name}sum1", [x, attended])
        x = self._layer_norm(f"{name}attention.output.LayerNorm", x)
        inner = self._gelu(f"{name}gelu", self._linear(f"{name}intermediate.dense", x))
        x = graph.op("Add", f"{name}sum2", [x, self._linear(f"{name}output.dense", inner)])
        return self._layer_norm(f"{name}output.LayerNorm", x)

    def _attention(self, name: str, x: str, penalty: str) -> str:
        """softmax(Q K^T / sqrt(d) + penalty) V over the heads, then the output projection."""
        graph = self._graph
        q = self._heads(f"{name}self.query", x, perm=[0, 2, 1, 3])
        k = self._heads(f"{name}self.key", x, perm=[0, 2, 3, 1])
        v = self._heads(f"{name}self.value", x, perm=[0, 2, 1, 3])
        scale = graph.scalar(f"{name}scale", 1 / math.sqrt(self._width // HEADS))
        scores = graph.op("MatMul", f"{name}qk", [q, k])
        scores = graph.op("Mul", f"{name}scaled", [scores, scale])
        scores = graph.op("Add", f"{name}masked", [scores, penalty])
        shares = graph.op("Softmax", f"{name}shares", [scores], axis=-1)
        mixed = graph.op("MatMul", f"{name}mixed", [shares, v])
        mixed = graph.op("Transpose", f"{name}joined", [mixed], perm=[0, 2, 1, 3])
        wide = graph.constant(f"{name}wide", np.array([0, 0, self._width]))
        joined = graph.op("Reshape", f"{name}flat", [mixed, wide])
        return self._linear(f"{name}output.dense", joined)

    def _heads(self, name: str, x: str, perm: list[int]) -> str:
        graph = self._graph
        shape = graph.constant(f"{name}.shape", np.array([0, 0, HEADS, self._width // HEADS]))
        split = graph.op("Reshape", f"{name}.split", [self._linear(name, x), shape])
        return graph.op("Transpose", f"{name}.heads", [split], perm=perm)

    def _linear(self, name: str, x: str) -> str:
        return self._graph.linear(
            name, x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        )

    def _layer_norm(self, name: str, x: str) -> str:
        scale = self._graph.constant(f"{name}.scale", self._weights[f"{name}.weight"])
        bias = self._graph.constant(f"{name}.bias", self._weights[f"{name}.bias"])
        return self._graph.op(
            "LayerNormalization", name, [x, scale, bias], axis=-1, epsilon=LAYER_NORM_EPSILON
        )

    def _gelu(self, name: str, x: str) -> str:
        """x / 2 (1 + erf(x / sqrt 2)), the exact form the weights were trained with."""
        graph = self._graph
        scaled = graph.op("Mul", f"{name}.scaled", [x, graph.scalar(f"{name}.k", math.sqrt(0.5))])
        erf = graph.op("Erf", f"{name}.erf", [scaled])
        gate = graph.op("Add", f"{name}.gate", [erf, graph.scalar(f"{name}.one", 1.0)])
        gated = graph.op("Mul", f"{name}.gated", [x, gate])
        return graph.op("Mul", name, [gated, graph.scalar(f"{name}.half", 0.5)])

    def _mean_of_kept(self, x: str, kept: str) -> str:
        """[N, L, D] and [N, L] to the mean of the tokens that are no padding, [N, D].

        The sum will do: the vector is brought to unit length next, so the count cancels out.
        """
        graph = self._graph
        weights = graph.op(
            "Unsqueeze", "kept_nl1", [kept, graph.constant("kept_axes", np.array([2]))]
        )
        weighed = graph.op("Mul", "weighed", [x, weights])
        axes = graph.constant("sum_axes", np.array([1]))
        return graph.op("ReduceSum", "sum", [weighed, axes], keepdims=0)
