"""The starter's towers in, towers that answer otherwise or run otherwise out, as files of a folder.

Runs in the environment that has onnx and OpenVINO:

    .venv-triton/bin/python -m tests.model_repository.variants REPOSITORY OUT

OUT/negated/MODEL/model.onnx computes the opposite embeddings; OUT/ir/MODEL/model.xml, model.bin the
same ones, in OpenVINO's format; OUT/broken/MODEL/model.onnx is no model.
"""

import sys
from pathlib import Path

import onnx
import openvino as ov
from onnx import helper

from contracts.tensors import IMAGE_MODEL, IMAGE_OUTPUT, TEXT_MODEL


def negated(model: onnx.ModelProto) -> onnx.ModelProto:
    producer = next(node for node in model.graph.node if IMAGE_OUTPUT in node.output)
    place = list(producer.output).index(IMAGE_OUTPUT)
    producer.output[place] = "opposite"
    model.graph.node.append(helper.make_node("Neg", ["opposite"], [IMAGE_OUTPUT]))
    return model


def main() -> None:
    repository, out = map(Path, sys.argv[1:])
    for model in (IMAGE_MODEL, TEXT_MODEL):
        source = repository / model / "1" / "model.onnx"
        for variant in ("negated", "ir", "broken"):
            (out / variant / model).mkdir(parents=True)
        onnx.save(negated(onnx.load(source)), out / "negated" / model / "model.onnx")
        ov.save_model(ov.Core().read_model(source), out / "ir" / model / "model.xml", False)
        (out / "broken" / model / "model.onnx").write_bytes(b"no model")


if __name__ == "__main__":
    main()
