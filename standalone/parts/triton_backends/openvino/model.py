"""Requests of one dynamic batch in, their tensors out: a Python-based Triton backend for OpenVINO.

It answers to the name `openvino` and reads the same configuration and model file as Triton's own
OpenVINO backend, which serves them where the official image runs; this one serves them where only
wheels can be installed. What it takes from the model's configuration:

- `default_model_filename` (model.onnx), in the version's directory;
- `input` and `output`: names and types, which must be those of the model file; the first dimension
  of each is the batch, so `max_batch_size` must be set;
- `parameters` `INFERENCE_NUM_THREADS`: how many threads an instance computes with, all cores
  where it is not given. The precision is what OpenVINO finds best for this processor: bfloat16
  where it computes in it, float32 elsewhere.

Tensors pass by DLPack: the stub was built against numpy 1, and of an array of numpy 2 it sends
the shape and no bytes.
"""

import ctypes
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils

DEFAULT_MODEL_FILENAME = "model.onnx"
DEVICE = "CPU"
THREADS = "INFERENCE_NUM_THREADS"
PROPERTIES = {
    "PERFORMANCE_HINT": "LATENCY",  # one inference at a time: an instance has no second one
    # Threads bound to cores stand still while another process has the core: on two cores that
    # are shared with the callers, a fifth of the pictures a second.
    "ENABLE_CPU_PINNING": False,
}
DYNAMIC = -1

# Reads a line that comes when this process ends in order. The end of the pipe without it means
# that this process was killed: then the server is, too, if it still lives ($0 is its id).
SENTINEL = 'read -r _ || { [ "$(cat /proc/$0/comm)" = tritonserver ] && kill -9 "$0"; }'

set_capsule_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
set_capsule_destructor.argtypes = (ctypes.py_object, ctypes.c_void_p)


class TritonPythonModel:
    """One instance of one model; Triton calls `execute` from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Raises where the model file cannot be compiled or is not what the configuration says."""
        config = json.loads(args["model_config"])
        if not config["max_batch_size"]:
            raise ValueError("max_batch_size must be set: requests are joined on it")
        self._config = config
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._path = Path(args["model_repository"]) / args["model_version"]
        self._path /= config["default_model_filename"] or DEFAULT_MODEL_FILENAME
        self._load()
        self._sentinel = start_sentinel()

    def _load(self) -> None:
        core = ov.Core()
        model = core.read_model(self._path)
        check_types(self._config["input"], model.input)
        check_types(self._config["output"], model.output)
        compiled = core.compile_model(model, DEVICE, properties_of(self._config))
        self._inference = compiled.create_infer_request()
        self._shapes = ShapeCheck(model) if has_dynamic_input(self._config) else None

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order. A request that does not fit fails alone."""
        try:
            return self._execute_together(requests)
        except ShapeError as exc:
            error = pb_utils.TritonError(str(exc), pb_utils.TritonError.INVALID_ARG)
        except Exception as exc:
            self._load()  # OpenVINO leaves a model that failed amid an inference in disorder
            error = pb_utils.TritonError(str(exc))
        if len(requests) == 1:
            return [pb_utils.InferenceResponse(error=error)]
        return [response for request in requests for response in self.execute([request])]

    def finalize(self) -> None:
        self._sentinel.communicate(b"\n")

    def _execute_together(self, requests: list[Any]) -> list[Any]:
        tensors = [self._tensors(request) for request in requests]
        batch = {name: joined([of[name] for of in tensors]) for name in self._inputs}
        if self._shapes:
            self._shapes.check(batch)
        self._inference.infer(batch, share_inputs=True)
        # Copied: the next inference writes over them, and the answers may still be unread then.
        results = [self._inference.get_tensor(name).data.copy() for name in self._outputs]
        responses, start = [], 0
        for of in tensors:
            end = start + len(of[self._inputs[0]])
            responses.append(self._response([result[start:end] for result in results]))
            start = end
        return responses

    def _tensors(self, request: Any) -> dict[str, Any]:
        named = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs}
        return {name: np.from_dlpack(tensor) for name, tensor in named.items()}

    def _response(self, arrays: list[Any]) -> Any:
        named = zip(self._outputs, arrays, strict=True)
        return pb_utils.InferenceResponse([tensor_of(name, array) for name, array in named])


def start_sentinel() -> Any:
    """Triton never restarts a killed stub, and calls itself ready without it: every request for
    the model fails from then on. So the server falls with the stub, and is started again by
    whoever looks after it."""
    command = ["/bin/sh", "-c", SENTINEL, str(os.getppid())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)


class ShapeError(ValueError):
    """The shapes of a request's inputs do not go together, or not with the model."""


class ShapeCheck:
    """Tries shapes that are new on the graph that is not compiled, where failing breaks nothing."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._known: set[tuple[tuple[int, ...], ...]] = set()

    def check(self, batch: dict[str, Any]) -> None:
        """Raises ShapeError; takes about 2 ms the first time a shape is met, nothing after."""
        shapes = tuple(array.shape[1:] for array in batch.values())
        if shapes in self._known:
            return
        partial = {n: ov.PartialShape([DYNAMIC, *array.shape[1:]]) for n, array in batch.items()}
        try:
            self._model.reshape(partial)
        except RuntimeError as exc:
            described = ", ".join(f"{n} {list(a.shape[1:])}" for n, a in batch.items())
            raise ShapeError(f"the model cannot take these shapes: {described}") from exc
        self._known.add(shapes)


def has_dynamic_input(config: dict[str, Any]) -> bool:
    return any(DYNAMIC in map(int, tensor["dims"]) for tensor in config["input"])


def properties_of(config: dict[str, Any]) -> dict[str, Any]:
    threads = config.get("parameters", {}).get(THREADS)
    return PROPERTIES if threads is None else {**PROPERTIES, THREADS: threads["string_value"]}


def check_types(configured: list[dict[str, Any]], port_of: Any) -> None:
    """Raises where a tensor of the configuration is not in the model, or is another there."""
    for tensor in configured:
        expected = np.dtype(pb_utils.triton_string_to_numpy(tensor["data_type"]))
        found = port_of(tensor["name"]).get_element_type().to_dtype()
        if found != expected:
            raise ValueError(f"{tensor['name']} is {found} in the model, {expected} configured")


def tensor_of(name: str, array: Any) -> Any:
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    # The tensor owns the memory now. The stub marks the capsule as used, with a name that numpy
    # does not know: left to itself, numpy would write a complaint to the log for every answer.
    set_capsule_destructor(capsule, None)
    return tensor


def joined(arrays: list[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
