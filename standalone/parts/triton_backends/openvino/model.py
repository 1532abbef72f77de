"""A Python-based Triton backend for OpenVINO, where only wheels can be installed.

It answers to the name `openvino`, as Triton's own OpenVINO backend does where the official image
runs, and reads model files of OpenVINO (model.xml, with its model.bin) and of ONNX. Beside what
joined_requests reads from the configuration:

- `parameters` `INFERENCE_NUM_THREADS`: how many threads an instance computes with, all cores
  where it is not given. The precision is what OpenVINO finds best for this processor: bfloat16
  where it computes in it, float32 elsewhere.
"""

from pathlib import Path
from typing import Any

import openvino as ov
from joined_requests import JoinedRequests, ShapeError, check_type

DEVICE = "CPU"
THREADS = "INFERENCE_NUM_THREADS"
PROPERTIES = {
    "PERFORMANCE_HINT": "LATENCY",  # one inference at a time: an instance has no second one
    # Threads bound to cores stand still while another process has the core: on two cores that
    # are shared with the callers, a fifth of the pictures a second.
    "ENABLE_CPU_PINNING": False,
}
DYNAMIC = -1


class TritonPythonModel(JoinedRequests):
    def load(self, path: Path) -> None:
        core = ov.Core()
        model = core.read_model(path)
        check_types(self.config["input"], model.input)
        check_types(self.config["output"], model.output)
        compiled = core.compile_model(model, DEVICE, properties_of(self.config))
        self._inference = compiled.create_infer_request()
        self._shapes = ShapeCheck(model) if has_dynamic_input(self.config) else None

    def infer(self, batch: dict[str, Any]) -> list[Any]:
        if self._shapes:
            self._shapes.check(batch)
        self._inference.infer(batch, share_inputs=True)
        # Copied: the next inference writes over them, and the answers may still be unread then.
        return [self._inference.get_tensor(name).data.copy() for name in self.outputs]


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
        check_type(tensor, port_of(tensor["name"]).get_element_type().to_dtype())
