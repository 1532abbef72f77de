"""Requests of one dynamic batch in, their tensors out: Triton's Python-based backend for OpenVINO.

It answers to the name `openvino` and reads the same configuration and model file as Triton's own
OpenVINO backend, which serves them where the official image runs; this one serves them where only
wheels can be installed. What it takes from the model's configuration:

- `default_model_filename` (model.onnx), in the version's directory;
- `input` and `output`: names and types, which must be those of the model file;
- `parameters` `PERFORMANCE_HINT` (LATENCY, THROUGHPUT) and `INFERENCE_NUM_THREADS`, OpenVINO
  properties by their own names. The precision is what OpenVINO finds best for this processor.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils

DEFAULT_MODEL_FILENAME = "model.onnx"
DEVICE = "CPU"
PROPERTIES = ("PERFORMANCE_HINT", "INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING")


class TritonPythonModel:
    """One instance of one model; Triton calls `execute` from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Raises where the model file cannot be compiled or is not what the configuration says."""
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        path = Path(args["model_repository"]) / args["model_version"]
        path /= config["default_model_filename"] or DEFAULT_MODEL_FILENAME
        core = ov.Core()
        compiled = core.compile_model(core.read_model(path), DEVICE, properties_of(config))
        check_types(config["input"], compiled.input)
        check_types(config["output"], compiled.output)
        self._request = compiled.create_infer_request()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order. A request that does not fit fails alone."""
        if not requests:
            return []
        try:
            return self._execute_together(requests)
        except Exception as exc:
            if len(requests) == 1:
                return [failure(exc)]
            # Somebody's tensors do not go with the others': each gets its own run, so that only
            # the one at fault is told so.
            return [self.execute([request])[0] for request in requests]

    def _execute_together(self, requests: list[Any]) -> list[Any]:
        arrays = [self._arrays(request) for request in requests]
        sizes = [len(of_request[0]) for of_request in arrays]
        batch = {
            name: joined([of_request[i] for of_request in arrays])
            for i, name in enumerate(self._inputs)
        }
        self._request.infer(batch, share_inputs=True)
        results = [self._request.get_tensor(name).data for name in self._outputs]
        ends = np.cumsum(sizes)
        return [
            self._response([result[end - size : end] for result in results])
            for size, end in zip(sizes, ends, strict=True)
        ]

    def _arrays(self, request: Any) -> list[Any]:
        return [pb_utils.get_input_tensor_by_name(request, n).as_numpy() for n in self._inputs]

    def _response(self, arrays: list[Any]) -> Any:
        # The tensor copies into shared memory, so the next run may overwrite the array.
        named = zip(self._outputs, arrays, strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in named])

    def finalize(self) -> None:
        del self._request


def properties_of(config: dict[str, Any]) -> dict[str, str]:
    parameters = config.get("parameters", {})
    return {name: parameters[name]["string_value"] for name in PROPERTIES if name in parameters}


def check_types(configured: list[dict[str, Any]], port_of: Any) -> None:
    """Raises ValueError where a tensor of the configuration is not in the model, or is another."""
    for tensor in configured:
        expected = np.dtype(pb_utils.triton_string_to_numpy(tensor["data_type"]))
        found = port_of(tensor["name"]).get_element_type().to_dtype()
        if found != expected:
            raise ValueError(f"{tensor['name']} is {found} in the model, {expected} configured")


def joined(arrays: list[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def failure(exc: Exception) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(exc)))
