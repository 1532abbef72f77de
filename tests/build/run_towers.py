"""The assembled ONNX graphs in, what they compute out, as a .npz: logits and embeddings.

Runs in the environment that has OpenVINO: python -m tests.build.run_towers REPOSITORY OUT.npz
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from build.starter.text_embedding import embed, load_tokenizer
from tests.build.parity_inputs import TEXTS, pictures


def run_image_tower(path: Path, precision: str) -> dict[str, Any]:
    core = ov.Core()
    model = core.read_model(path)
    model.add_outputs("logits")
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    results = compiled([pictures()])
    return {name: results[name].copy() for name in ("logits", "embedding")}


def main() -> None:
    repository, out = Path(sys.argv[1]), sys.argv[2]
    image, text = repository / "clip_vit" / "1", repository / "clip_text" / "1"
    label_set = np.load(image / "label_sets" / "imagenet-1k.npz")
    tokenizer = load_tokenizer(text / "tokenizer.json")
    exact = run_image_tower(image / "model.onnx", "f32")
    half = run_image_tower(image / "model.onnx", "bf16")
    np.savez(
        out,
        logits=exact["logits"],
        image_embeddings=exact["embedding"],
        image_embeddings_bf16=half["embedding"],
        text_embeddings=embed(TEXTS, tokenizer, (text / "model.onnx").read_bytes()),
        labels=label_set["labels"],
        label_embeddings=label_set["embeddings"],
    )


if __name__ == "__main__":
    main()
