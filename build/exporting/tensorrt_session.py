"""A plan and arrays in; the arrays it computes from them, and how long that takes, out.

Written to the documented interface of TensorRT 10 and 11, for machines with an NVIDIA GPU; only
its refusals are tested where there is none.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from build.exporting import plan_cache
from build.exporting.refusal import CannotExport
from build.exporting.tensorrt_engine import Plan
from build.exporting.tensorrt_toolkit import Flavour, can_run_here, load, log_of

WARM_UP_RUNS = 10
TIMED_RUNS = 100

Arrays = Mapping[str, np.ndarray]


class CannotRun(CannotExport):
    """The plan does not run here; the message says why."""


class Session:
    """One execution context. Takes arrays of the shapes and types that the graph names."""

    def __init__(self, plan: Plan) -> None:
        """Raises CannotRun, before TensorRT sees the plan where it is not one for this machine."""
        if reason := can_run_here(plan.facts) or plan_cache.damage(plan.path, plan.facts):
            raise CannotRun(f"{plan.path} cannot run here: {reason}")
        import torch

        self._torch = torch
        self._trt = load(Flavour(plan.facts["flavour"]))
        self._log = log_of(self._trt)
        self._runtime = self._trt.Runtime(self._log)  # must outlive its engines
        self._engine = self._runtime.deserialize_cuda_engine(plan.path.read_bytes())
        if self._engine is None:
            raise CannotRun("\n".join([f"{plan.path} cannot be loaded:", *self._log.lines]))
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise CannotRun("\n".join([f"{plan.path} has no room to run:", *self._log.lines]))
        # The default stream would make TensorRT synchronize the whole device at each run.
        self._stream = torch.cuda.Stream()

    def run(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Output name to array. Raises CannotRun for shapes outside of the profile, other types."""
        with self._torch.cuda.stream(self._stream):
            inputs = self._bind_inputs(arrays)  # must live until the stream is through
            outputs = self._bind_outputs()
            self._enqueue()
        self._stream.synchronize()
        del inputs
        return {name: tensor.cpu().numpy() for name, tensor in outputs.items()}

    def seconds_a_run(self, arrays: Arrays) -> float:
        """Of the bare engine, its inputs on the GPU already; the mean of many runs back to back."""
        with self._torch.cuda.stream(self._stream):
            bound = (self._bind_inputs(arrays), self._bind_outputs())
            for _ in range(WARM_UP_RUNS):
                self._enqueue()
            self._stream.synchronize()
            started = time.perf_counter()
            for _ in range(TIMED_RUNS):
                self._enqueue()
            self._stream.synchronize()
            elapsed_s = time.perf_counter() - started
        del bound
        return elapsed_s / TIMED_RUNS

    def _bind_inputs(self, arrays: Arrays) -> list[Any]:
        tensors = []
        for name, array in arrays.items():
            type_ = self._trt.nptype(self._engine.get_tensor_dtype(name))
            if array.dtype != type_:  # TensorRT would read its bytes as they are
                raise CannotRun(f"{name} is of {array.dtype}, not of {np.dtype(type_)}")
            tensor = self._torch.from_numpy(np.ascontiguousarray(array)).cuda()
            if not self._context.set_input_shape(name, tuple(array.shape)):
                raise CannotRun(f"{name} of shape {array.shape} is outside of the profile")
            self._context.set_tensor_address(name, tensor.data_ptr())
            tensors.append(tensor)
        return tensors

    def _bind_outputs(self) -> dict[str, Any]:
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        outputs = {}
        for name in names:
            if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.OUTPUT:
                type_ = self._trt.nptype(self._engine.get_tensor_dtype(name))
                shape = tuple(self._context.get_tensor_shape(name))
                outputs[name] = self._torch.from_numpy(np.empty(shape, type_)).cuda()
                self._context.set_tensor_address(name, outputs[name].data_ptr())
        return outputs

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise CannotRun("\n".join(["the engine failed:", *self._log.lines]))
