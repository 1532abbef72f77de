"""A Python-based Triton backend for ONNX Runtime, where only wheels can be installed.

It answers to the name `onnxruntime`, as Triton's own ONNX Runtime backend does where the official
image runs. Beside what joined_requests reads from the configuration:

- `parameters` `intra_op_thread_count`: how many threads an instance computes with, all cores where
  it is not given.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from joined_requests import JoinedRequests, ShapeError, check_type
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

THREADS = "intra_op_thread_count"
PROVIDERS = ["CPUExecutionProvider"]
ONLY_FATAL = 4  # what fails is answered to the caller, and need not be in the log too
TYPES = {"tensor(uint8)": np.uint8, "tensor(int64)": np.int64, "tensor(float)": np.float32}


class TritonPythonModel(JoinedRequests):
    def load(self, path: Path) -> None:
        self._session = ort.InferenceSession(path, options_of(self.config), providers=PROVIDERS)
        check_types(self.config["input"], self._session.get_inputs())
        check_types(self.config["output"], self._session.get_outputs())

    def infer(self, batch: dict[str, Any]) -> list[Any]:
        try:
            return list(self._session.run(self.outputs, batch))
        except (Fail, InvalidArgument, RuntimeException) as exc:  # of a node that got such shapes
            described = ", ".join(f"{n} {list(a.shape[1:])}" for n, a in batch.items())
            raise ShapeError(f"the model cannot take these shapes: {described}") from exc


def options_of(config: dict[str, Any]) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = ONLY_FATAL
    # A thread that spins for work has a core that others could use: the callers share the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    threads = config.get("parameters", {}).get(THREADS)
    options.intra_op_num_threads = int(threads["string_value"]) if threads else 0
    return options


def check_types(configured: list[dict[str, Any]], found: list[Any]) -> None:
    """Raises where a tensor of the configuration is not in the model, or is another there."""
    types = {tensor.name: tensor.type for tensor in found}
    for tensor in configured:
        if tensor["name"] not in types:
            raise ValueError(f"{tensor['name']} is not in the model, which has {', '.join(types)}")
        check_type(tensor, np.dtype(TYPES[types[tensor["name"]]]))
