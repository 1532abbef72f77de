"""Plans are built, cached and refused: by TensorRT-RTX, which needs no GPU for it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build.artefacts import sha256_of
from build.exporting import plan_cache
from tests.build.exporting.in_export_environment import PYTHON, ROOT

pytestmark = pytest.mark.integration

GRAPHS = (
    "image",
    "text",
    "weights_beside",
    "two_unknown_operators",
    "mixed_types",
    "transposed_uint8",
    "input_without_profile",
    "no_graph",
)

Outcomes = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, export_python: Path) -> Path:
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(scope="module")
def first(folder: Path) -> Outcomes:
    """What came of building every graph."""
    return build(folder, *GRAPHS)


def build(folder: Path, *graphs: str) -> Outcomes:
    command = [str(PYTHON), "-m", "tests.build.exporting.plan_builds", str(folder), *graphs]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=ROOT, check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    outcomes: Outcomes = json.loads(done.stdout.splitlines()[-1])
    return outcomes


@pytest.mark.parametrize("graph", ["image", "text"])
def test_a_plan_is_named_for_what_it_runs_on(first: Outcomes, graph: str) -> None:
    built, facts = first[graph], first[graph]["facts"]
    flavour = facts["flavour"].replace("_", "-")
    assert built["file_name"] == f"model-{flavour}-{facts['version']}-sm89.plan"
    assert Path(built["path"]).name == built["file_name"]
    assert Path(built["path"]).parent.name == graph
    assert not built["from_cache"]
    assert built["build_s"] > 0
    assert f"building {built['file_name']}" in built["said"]


def test_the_facts_are_those_of_the_graph_the_profile_and_the_plan(first: Outcomes) -> None:
    built = first["image"]
    facts, plan = built["facts"], Path(built["path"])
    shape = [32, 32, 3]
    assert json.loads(facts["profile"]) == {"pixels": [[1, *shape], [16, *shape], [64, *shape]]}
    assert facts["onnx_sha256"] == sha256_of(plan.parent.parent.parent / "image.onnx")
    assert facts["plan_sha256"] == sha256_of(plan)
    assert (facts["compute_capability"], facts["typing"]) == ("8.9", "strongly typed")
    assert json.loads(plan_cache.facts_path(plan).read_text()) == facts


def test_every_parser_error_is_told(first: Outcomes) -> None:
    told = first["two_unknown_operators"]["refused"]
    assert "cannot parse two_unknown_operators.onnx" in told
    assert "1. node 0 'first' (Foo): INVALID_NODE" in told
    assert "2. node 1 'second' (Bar): INVALID_NODE" in told
    assert "onnxOpCheckers.cpp:" in told


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        ("mixed_types", "'mixed' (Add)"),  # so the types are taken as they stand
        ("transposed_uint8", "'early' (Transpose)"),  # uint8 goes into casts only
        ("input_without_profile", "Dynamic input tensor in is missing dimensions in profile 0"),
        ("no_graph", "Failed to parse the ONNX model"),
    ],
)
def test_a_graph_that_cannot_be_built_is_refused_with_the_reason(
    first: Outcomes, graph: str, told: str
) -> None:
    assert told in first[graph]["refused"]


def test_only_its_own_errors_are_told(first: Outcomes) -> None:
    """All graphs were built by one process, where TensorRT has one logger."""
    told = first["input_without_profile"]["refused"]
    assert "1. ERROR: IBuilder::buildSerializedNetwork" in told
    assert "Transpose" not in told


def test_no_plan_is_left_of_a_graph_that_cannot_be_built(first: Outcomes, folder: Path) -> None:
    assert first
    built = {path.parent.name for path in (folder / "cache").glob("*/*")}
    assert built == {"image", "text", "weights_beside"}


def test_a_plan_is_not_loaded_where_it_cannot_run(first: Outcomes) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is an NVIDIA GPU here")
    assert "cannot run here: there is no NVIDIA GPU here" in first["image"]["cannot_run"]


def test_the_second_build_comes_from_the_cache(first: Outcomes, folder: Path) -> None:
    again = build(folder, "image")["image"]
    assert again["from_cache"]
    assert again["said"] == ""
    assert again["facts"] == first["image"]["facts"]
    assert again["build_s"] == pytest.approx(first["image"]["build_s"], abs=0.1)


def truncate(plan: Path, folder: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:-1])


def flip_a_bit(plan: Path, folder: Path) -> None:
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 1
    plan.write_bytes(content)


def change_the_weights(plan: Path, folder: Path) -> None:
    weights = folder / "weights_beside.data"
    weights.write_bytes(bytes(len(weights.read_bytes())))


def fact(name: str) -> Callable[[Path, Path], None]:
    def change(plan: Path, folder: Path) -> None:
        path = plan_cache.facts_path(plan)
        path.write_text(json.dumps({**json.loads(path.read_text()), name: "another"}))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (truncate, "bytes"),
        (flip_a_bit, "its bytes changed since"),
        (change_the_weights, "from another ONNX graph"),
        (fact("version"), "by another version (another, here "),
        (fact("compute_capability"), "for another compute capability (another, here 8.9)"),
        (fact("driver"), "under another driver (another, here "),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_and_built_again(
    first: Outcomes, folder: Path, change: Callable[[Path, Path], None], reason: str
) -> None:
    change(Path(first["weights_beside"]["path"]), folder)
    built = build(folder, "weights_beside")["weights_beside"]
    assert not built["from_cache"]
    assert "the cached plan is refused" in built["said"]
    assert reason in built["said"]
    assert sha256_of(Path(built["path"])) == built["facts"]["plan_sha256"]
    assert build(folder, "weights_beside")["weights_beside"]["from_cache"]
