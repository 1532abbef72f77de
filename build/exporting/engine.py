"""A model file comes in, what computes embeddings with it as its Triton backend does comes out."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from build.exporting.tensorrt_engine import Plan
from contracts.tensors import IMAGE_OUTPUT, TEXT_ATTENTION_MASK, TEXT_INPUT_IDS
from zero_shot.label_set import Embeddings

MEASURED_S = 1.5
ERRORS_ONLY = 3  # ONNX Runtime warns about every constant that it folds

Inputs = Mapping[str, npt.NDArray[Any]]


class Engine(Protocol):
    """`computes_in` is the precision that this processor runs the model in."""

    computes_in: str

    def run(self, inputs: Inputs) -> Embeddings: ...

    def seconds_a_run(self, inputs: Inputs) -> float: ...


class OnnxRuntimeEngine:
    def __init__(self, path: Path, computes_in: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.computes_in = computes_in

    def run(self, inputs: Inputs) -> Embeddings:
        embeddings: Embeddings = self._session.run([IMAGE_OUTPUT], dict(inputs))[0]
        return embeddings

    def seconds_a_run(self, inputs: Inputs) -> float:
        return _mean_s(self, inputs)


class OpenVinoEngine:
    """At OpenVINO's own choice of precision, as it is served: bf16 where the CPU has it."""

    def __init__(self, path: Path, precision: str | None = None) -> None:
        import openvino

        properties = {"PERFORMANCE_HINT": "LATENCY"}
        if precision is not None:
            properties["INFERENCE_PRECISION_HINT"] = precision
        compiled = openvino.Core().compile_model(path, "CPU", properties)
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.computes_in = str(precision)
        self._request = compiled.create_infer_request()

    def run(self, inputs: Inputs) -> Embeddings:
        self._request.infer(dict(inputs))
        return np.array(self._request.get_tensor(IMAGE_OUTPUT).data)

    def seconds_a_run(self, inputs: Inputs) -> float:
        return _mean_s(self, inputs)


class PyTorchEngine:
    """A text tower in float32 as it is, not converted."""

    computes_in = "f32"

    def __init__(self, tower: Any) -> None:
        self._tower = tower

    def run(self, inputs: Inputs) -> Embeddings:
        import torch

        with torch.inference_mode():
            embeddings: Embeddings = self._tower(
                *(torch.from_numpy(inputs[name]) for name in (TEXT_INPUT_IDS, TEXT_ATTENTION_MASK))
            ).numpy()
        return embeddings

    def seconds_a_run(self, inputs: Inputs) -> float:
        return _mean_s(self, inputs)


class TensorRtEngine:
    """On the GPU of this machine. Raises CannotRun."""

    computes_in = "fp16"

    def __init__(self, plan: Plan) -> None:
        from build.exporting.tensorrt_session import Session

        self._session = Session(plan)

    def run(self, inputs: Inputs) -> Embeddings:
        return self._session.run(inputs)[IMAGE_OUTPUT]

    def seconds_a_run(self, inputs: Inputs) -> float:
        return self._session.seconds_a_run(inputs)


def _mean_s(engine: Engine, inputs: Inputs) -> float:
    engine.run(inputs)  # the first prepares the kernels
    runs, started = 0, time.monotonic()
    while time.monotonic() - started < MEASURED_S:
        engine.run(inputs)
        runs += 1
    return (time.monotonic() - started) / runs
