"""ONNX graphs, sound and broken, in; what came of building their plans, as JSON on stdout, out.

Run with the Python of .venv-export: `python -m tests.build.exporting.plan_builds FOLDER GRAPH...`.
A graph that is in the folder already is not written again; nor is the cache emptied.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from build.exporting.tensorrt_engine import Profile, build_plan
from build.exporting.tensorrt_session import CannotRun, Session
from build.exporting.tensorrt_toolkit import CannotBuild

COMPUTE_CAPABILITY = "sm89"
IMAGE_SHAPE = (32, 32, 3)
CONTEXT_LENGTH = 8
OPSET = 18


def write_graph(name: str, path: Path) -> None:
    if name in ("image", "text"):
        from tests.build.exporting import half_precision_towers

        getattr(half_precision_towers, name)(path)
    elif name == "no_graph":
        path.write_bytes(b"\xff is no ONNX graph")
    elif name == "weights_beside":
        weight = numpy_helper.from_array(np.ones(1, np.float32), "weight")
        model = _model([helper.make_node("Mul", ["in", "weight"], ["out"])], weights=[weight])
        location = path.with_suffix(".data").name
        onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    else:
        type_ = TensorProto.UINT8 if name == "transposed_uint8" else TensorProto.FLOAT
        onnx.save(_model(BROKEN[name], type_), path)


BROKEN = {
    "two_unknown_operators": [
        helper.make_node("Foo", ["in"], ["between"], name="first", domain="nobody"),
        helper.make_node("Bar", ["between"], ["out"], name="second", domain="nobody"),
    ],
    "mixed_types": [
        helper.make_node("Cast", ["in"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Add", ["half", "in"], ["out"], name="mixed"),
    ],
    "transposed_uint8": [
        helper.make_node("Transpose", ["in"], ["nchw"], name="early", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["out"], to=TensorProto.FLOAT),
    ],
    "input_without_profile": [helper.make_node("Relu", ["in"], ["out"])],
}


def _model(
    nodes: list[Any], type_: int = TensorProto.FLOAT, weights: list[Any] | None = None
) -> Any:
    inputs = [helper.make_tensor_value_info("in", type_, ["N", *IMAGE_SHAPE])]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("nobody", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


PROFILES: dict[str, dict[str, tuple[int, ...]]] = {
    "image": {"pixels": IMAGE_SHAPE},
    "text": {"input_ids": (CONTEXT_LENGTH,)},
    "input_without_profile": {"another": IMAGE_SHAPE},
}


def outcome(folder: Path, graph: str) -> dict[str, Any]:
    path = folder / f"{graph}.onnx"
    if not path.exists():
        write_graph(graph, path)
    profile = Profile.of_batches(PROFILES.get(graph, {"in": IMAGE_SHAPE}))
    said: list[str] = []
    try:
        plan = build_plan(path, graph, profile, folder / "cache", COMPUTE_CAPABILITY, said.append)
    except CannotBuild as exc:
        return {"refused": str(exc)}
    return {
        "path": str(plan.path),
        "file_name": plan.file_name,
        "facts": plan.facts,
        "build_s": plan.build_s,
        "from_cache": plan.from_cache,
        "said": "\n".join(said),
        "cannot_run": cannot_run(plan),
    }


def cannot_run(plan: Any) -> str | None:
    try:
        Session(plan)
    except CannotRun as exc:
        return str(exc)
    return None


if __name__ == "__main__":
    folder, *graphs = sys.argv[1:]
    json.dump({graph: outcome(Path(folder), graph) for graph in graphs}, sys.stdout)
