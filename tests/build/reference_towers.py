"""The same weights in timm and transformers: logits and text embeddings out, as a .npz.

Runs in an environment with PyTorch, which the platform itself does without:

    .venv-export/bin/python -m tests.build.reference_towers CHECKPOINT MINILM_DIRECTORY OUT.npz
    .venv-export/bin/python -m tests.build.reference_towers CHECKPOINT MINILM_DIRECTORY --record

The second form writes reference.json: what the tests compare with where PyTorch is not installed.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.build.parity_inputs import TEXTS, pictures

RECORDED = Path(__file__).parent / "reference.json"
LOGITS_EVERY = 50  # of 1,000
DIMENSIONS_KEPT = 16  # of 384
DECIMALS = 5


def image_logits(checkpoint: str) -> Any:
    import timm
    import torch

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
    names = list(model.state_dict())
    # One network under two sets of names, its tensors in one order.
    model.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    pixels = torch.from_numpy(pictures()).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        return model((pixels / 255 - 0.5) / 0.5).numpy()


def text_embeddings(directory: str) -> Any:
    import torch
    from transformers import AutoTokenizer, BertModel

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = BertModel.from_pretrained(directory).eval()
    tokens = tokenizer(list(TEXTS), padding="longest", return_tensors="pt")
    with torch.inference_mode():
        states = model(**tokens).last_hidden_state
    kept = tokens["attention_mask"].unsqueeze(-1).float()
    means = (states * kept).sum(1) / kept.sum(1)
    return torch.nn.functional.normalize(means, dim=1).numpy()


def record(logits: Any, embeddings: Any) -> None:
    facts = {
        "logits_every_50th": logits[:, ::LOGITS_EVERY].round(DECIMALS).tolist(),
        "best_class": logits.argmax(axis=1).tolist(),
        "embeddings_first_16": embeddings[:, :DIMENSIONS_KEPT].round(DECIMALS).tolist(),
        "similarities": (embeddings @ embeddings.T).round(DECIMALS).tolist(),
    }
    RECORDED.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    checkpoint, minilm, out = sys.argv[1:]
    logits, embeddings = image_logits(checkpoint), text_embeddings(minilm)
    if out == "--record":
        record(logits, embeddings)
    else:
        np.savez(out, logits=logits, embeddings=embeddings)


if __name__ == "__main__":
    main()
