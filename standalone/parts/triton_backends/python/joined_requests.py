"""Requests of one dynamic batch in, one inference of an engine, a response a request out.

What Python-based backends share. They answer to the name of one of Triton's own backends and read
the same configuration and model file. What they take from the model's configuration:

- `default_model_filename`, in the version's directory;
- `input` and `output`: names and types, which must be those of the model file; the first dimension
  of each is the batch, so `max_batch_size` must be set.

Tensors pass by DLPack: the stub was built against numpy 1, and of an array of numpy 2 it sends
the shape and no bytes.
"""

import ctypes
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

set_capsule_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
set_capsule_destructor.argtypes = (ctypes.py_object, ctypes.c_void_p)


class ShapeError(ValueError):
    """The shapes of a request's inputs do not go together, or not with the model."""


class JoinedRequests(ABC):
    """One instance of one model; Triton calls `execute` from one thread.

    A backend gives `load(path)`, again after an inference that failed, and `infer(batch)`: arrays
    by input name to one array an output, in the order of `outputs`, that nothing writes over
    later. `infer` raises ShapeError where the batch is the caller's fault.
    """

    default_model_filename = "model.onnx"

    def initialize(self, args: dict[str, str]) -> None:
        """Raises where the model file cannot be compiled or is not what the configuration says."""
        self.config = json.loads(args["model_config"])
        if not self.config["max_batch_size"]:
            raise ValueError("max_batch_size must be set: requests are joined on it")
        self.inputs = [tensor["name"] for tensor in self.config["input"]]
        self.outputs = [tensor["name"] for tensor in self.config["output"]]
        file = self.config["default_model_filename"] or self.default_model_filename
        self._path = Path(args["model_repository"]) / args["model_version"] / file
        self.load(self._path)

    @abstractmethod
    def load(self, path: Path) -> None: ...

    @abstractmethod
    def infer(self, batch: dict[str, Any]) -> list[Any]: ...

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order. A request that does not fit fails alone."""
        try:
            return self._execute_together(requests)
        except ShapeError as exc:
            error = pb_utils.TritonError(str(exc), pb_utils.TritonError.INVALID_ARG)
        except Exception as exc:
            self.load(self._path)  # an engine that failed amid an inference may be in disorder
            error = pb_utils.TritonError(str(exc))
        if len(requests) == 1:
            return [pb_utils.InferenceResponse(error=error)]
        return [response for request in requests for response in self.execute([request])]

    def _execute_together(self, requests: list[Any]) -> list[Any]:
        tensors = [self._tensors(request) for request in requests]
        batch = {name: joined([of[name] for of in tensors]) for name in self.inputs}
        results = self.infer(batch)
        responses, start = [], 0
        for of in tensors:
            end = start + len(of[self.inputs[0]])
            responses.append(self._response([result[start:end] for result in results]))
            start = end
        return responses

    def _tensors(self, request: Any) -> dict[str, Any]:
        named = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self.inputs}
        return {name: np.from_dlpack(tensor) for name, tensor in named.items()}

    def _response(self, arrays: list[Any]) -> Any:
        named = zip(self.outputs, arrays, strict=True)
        return pb_utils.InferenceResponse([tensor_of(name, array) for name, array in named])


def check_type(tensor: dict[str, Any], found: Any) -> None:
    """Raises where a tensor of the configuration is of another type in the model."""
    expected = np.dtype(pb_utils.triton_string_to_numpy(tensor["data_type"]))
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
