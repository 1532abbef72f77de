"""Operations in, one ONNX model out: a thin writer over the ONNX helper that names every node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17  # the first with LayerNormalization; read by TensorRT 10, OpenVINO, ONNX Runtime alike
IR_VERSION = 8  # the one that came with opset 17
SHORTEST_LENGTH = 1e-6  # what a vector of zeros is divided by; no other is near it
BATCH = "batch"  # the symbolic first dimension of every input and output

Dimensions = Sequence[int | str]


class Graph:
    """Values are referred to by name; `op` and `constant` return the name they made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: TensorProto.DataType, shape: Dimensions) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, [BATCH, *shape]))
        return name

    def output(self, value: str, name: str, dtype: TensorProto.DataType, shape: Dimensions) -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"{name}_out"))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, [BATCH, *shape]))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def scalar(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, np.float32))

    def op(self, op_type: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def linear(self, name: str, x: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
        """x @ weight.T + bias over the last axis, the weight as PyTorch keeps it [out, in]."""
        product = self.op("MatMul", f"{name}.matmul", [x, self.constant(f"{name}.w", weight.T)])
        return self.op("Add", name, [product, self.constant(f"{name}.b", bias)])

    def unit_length(self, name: str, x: str) -> str:
        """Rows of `x` [N, D] divided by their Euclidean length; a row of zeros stays zeros."""
        length = self.op("ReduceL2", f"{name}.length", [x], axes=[1], keepdims=1)
        shortest = self.scalar(f"{name}.shortest", SHORTEST_LENGTH)
        return self.op("Div", name, [x, self.op("Max", f"{name}.safe", [length, shortest])])

    def to_model(self) -> onnx.ModelProto:
        """Raises onnx.checker.ValidationError for a graph that is not valid ONNX."""
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model)
        return model
